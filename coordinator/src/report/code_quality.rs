//! Findings as a code quality report in the format of Code Climate, which GitLab shows in merge requests: a list of issues with a fingerprint each.

use super::account::Account;
use super::findings::findings;

/// The document. `project` is the project's directory as seen from the repository's root, with a slash at its end unless it is the root. A finding without a file is told at the project's root, since the format has no place for none.
pub fn render(account: &Account, project: &str) -> String {
    let issues: Vec<_> = findings(account)
        .iter()
        .map(|finding| {
            let path = if finding.file.is_empty() { ".".to_owned() } else { format!("{project}{}", finding.file) };
            let print = blake3::hash(format!("{}\0{path}", finding.what).as_bytes()).to_hex();
            serde_json::json!({
                "description": format!("{}: {}", finding.what, finding.reason),
                "check_name": "splitci",
                "fingerprint": &print[..32],
                "severity": if finding.mild { "minor" } else { "critical" },
                "location": { "path": path, "lines": { "begin": finding.line.max(1) } },
            })
        })
        .collect();
    format!("{:#}\n", serde_json::Value::Array(issues))
}
