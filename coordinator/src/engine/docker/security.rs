//! Security options of containers, checked against what the engine can keep. Pure but for reading a seccomp profile.
//!
//! Docker ignores some options that its kernel cannot keep; here an option that would not hold is refused.

use super::DockerEngineError;

const NO_NEW_PRIVILEGES: &str = "no-new-privileges";

/// The options as the engine reads them: no new privileges unless they are allowed by name, and what the user asked for.
pub(super) fn options(asked: &[String], engine: &[String]) -> Result<Vec<String>, DockerEngineError> {
    let mut options = Vec::new();
    let mut new_privileges = false;
    for option in asked {
        let (name, value) = option.split_once(['=', ':']).unwrap_or((option, ""));
        match name {
            NO_NEW_PRIVILEGES => new_privileges = value == "false",
            "apparmor" => options.push(supported(option, "apparmor", engine)?.to_owned()),
            "label" => options.push(supported(option, "selinux", engine)?.to_owned()),
            "seccomp" => {
                supported(option, "seccomp", engine)?;
                options.push(format!("seccomp={}", seccomp(value)?));
            }
            "systempaths" if value == "unconfined" => options.push(option.clone()),
            _ => return Err(DockerEngineError::UnknownOption(option.clone())),
        }
    }
    if !new_privileges {
        options.insert(0, NO_NEW_PRIVILEGES.to_owned());
    }
    Ok(options)
}

fn supported<'a>(option: &'a str, by: &str, engine: &[String]) -> Result<&'a str, DockerEngineError> {
    if engine.iter().any(|name| name == by) {
        return Ok(option);
    }
    Err(DockerEngineError::Unsupported { option: option.to_owned(), engine: engine.to_vec() })
}

/// A profile travels by content, since the engine may be elsewhere.
fn seccomp(value: &str) -> Result<String, DockerEngineError> {
    if value == "unconfined" || value == "builtin" || value.starts_with('{') {
        return Ok(value.to_owned());
    }
    fs_err::read_to_string(value).map_err(DockerEngineError::Profile)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(options: &[&str]) -> Result<Vec<String>, DockerEngineError> {
        let options: Vec<_> = options.iter().map(|option| (*option).to_owned()).collect();
        super::options(&options, &["seccomp".to_owned()])
    }

    #[test]
    fn privileges_are_not_gained_unless_that_is_asked_for() {
        assert_eq!(asked(&[]).expect("fine"), [NO_NEW_PRIVILEGES]);
        assert_eq!(asked(&["no-new-privileges=false"]).expect("fine"), Vec::<String>::new());
        assert_eq!(asked(&["seccomp=unconfined"]).expect("fine"), [NO_NEW_PRIVILEGES, "seccomp=unconfined"]);
    }

    #[test]
    fn an_option_that_would_not_hold_is_refused() {
        assert!(matches!(asked(&["apparmor=mine"]), Err(DockerEngineError::Unsupported { .. })));
        assert!(matches!(asked(&["label=type:t"]), Err(DockerEngineError::Unsupported { .. })));
        assert!(matches!(asked(&["magic=1"]), Err(DockerEngineError::UnknownOption(_))));
        assert!(matches!(asked(&["seccomp=/nowhere.json"]), Err(DockerEngineError::Profile(_))));
    }
}
