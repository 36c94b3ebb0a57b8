//! A server that gives out tokens to those who ask a registry, and an authority that both believe.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::between::{Asked, Between, Trick};

fn openssl(directory: &Path, line: &str, input: &[u8]) -> Vec<u8> {
    let command = Command::new("openssl")
        .args(line.split_whitespace())
        .current_dir(directory)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut child = command.expect("start openssl");
    child.stdin.take().expect("piped").write_all(input).expect("written");
    let output = child.wait_with_output().expect("openssl ends");
    assert!(output.status.success(), "openssl {line}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

/// An authority, and what it has signed for this machine: `ca.pem`, `cert.pem` and `key.pem` of this directory.
pub fn certificates(directory: &Path) {
    let names = "-subj /CN=localhost -addext subjectAltName=DNS:localhost,IP:127.0.0.1";
    openssl(directory, "genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048 -out key.pem", b"");
    openssl(
        directory,
        &format!("req -x509 -new -key key.pem -days 2 -out ca.pem {names} -addext keyUsage=digitalSignature,keyCertSign"),
        b"",
    );
    openssl(directory, &format!("req -new -key key.pem -out request.pem {names}"), b"");
    fs_err::write(directory.join("names"), "subjectAltName=DNS:localhost,IP:127.0.0.1\nbasicConstraints=CA:FALSE\n").expect("written");
    openssl(directory, "x509 -req -in request.pem -CA ca.pem -CAkey key.pem -CAcreateserial -days 2 -out cert.pem -extfile names", b"");
}

fn base64(directory: &Path, bytes: &[u8]) -> String {
    String::from_utf8(openssl(directory, "base64 -A", bytes)).expect("text")
}

fn url_safe(directory: &Path, bytes: &[u8]) -> String {
    base64(directory, bytes).replace('+', "-").replace('/', "_").trim_end_matches('=').to_owned()
}

/// Who may do what: user, password, and repositories with their actions.
pub type Grants = Vec<(&'static str, &'static str, Vec<(&'static str, &'static str)>)>;

/// Something that gives out tokens, signed with `key.pem` of this directory, to who is in this list.
pub fn token_server(directory: &Path, grants: Grants) -> Between {
    let directory = directory.to_owned();
    let certificate = base64(&directory, &openssl(&directory, "x509 -in ca.pem -outform DER", b""));
    Between::alone(move |_, asked| {
        let who = grants.iter().find(|(user, password, _)| {
            let wanted = format!("Basic {}", base64(&directory, format!("{user}:{password}").as_bytes()));
            if user.is_empty() { asked.authorization.is_none() } else { asked.authorization.as_deref() == Some(&wanted) }
        });
        let Some((user, _, may)) = who else { return Trick::Say("401 Unauthorized", String::new(), b"{}".to_vec()) };
        let token = token(&directory, &certificate, user, &granted(asked, may));
        Trick::Say("200 OK", "Content-Type: application/json\r\n".to_owned(), format!("{{\"token\":\"{token}\"}}").into_bytes())
    })
}

/// What of that which is asked for somebody may do.
fn granted(asked: &Asked, may: &[(&str, &str)]) -> Vec<serde_json::Value> {
    let query = asked.path.split_once('?').map_or("", |(_, query)| query).replace("%3A", ":").replace("%2F", "/").replace("%2C", ",");
    let scopes = query.split('&').filter_map(|field| field.strip_prefix("scope=repository:"));
    let one = |scope: &str| {
        let (name, actions) = scope.rsplit_once(':')?;
        let (_, allowed) = may.iter().find(|(repository, _)| *repository == name)?;
        let actions: Vec<_> = actions.split(',').filter(|action| allowed.split(',').any(|allowed| allowed == *action)).collect();
        Some(serde_json::json!({"type": "repository", "name": name, "actions": actions}))
    };
    scopes.filter_map(one).collect()
}

fn token(directory: &Path, certificate: &str, user: &str, access: &[serde_json::Value]) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs();
    let head = serde_json::json!({"typ": "JWT", "alg": "RS256", "x5c": [certificate]});
    let claims = serde_json::json!({
        "iss": "us", "aud": "here", "sub": user, "jti": "1", "iat": now, "nbf": now - 10, "exp": now + 300, "access": access
    });
    let text = format!("{}.{}", url_safe(directory, head.to_string().as_bytes()), url_safe(directory, claims.to_string().as_bytes()));
    let signature = openssl(directory, "dgst -sha256 -sign key.pem", text.as_bytes());
    format!("{text}.{}", url_safe(directory, &signature))
}
