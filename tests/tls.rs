//! One TLS for the whole program, chosen before anything connects: an engine behind TLS is reached, with certificates on both sides.
#![expect(clippy::expect_used, reason = "a test reports by panicking")]

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use splitci_tests::Sandbox;

/// A server that speaks TLS and takes nobody without a certificate. Killed when dropped.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

fn openssl(directory: &Path, line: &str) {
    let output = Command::new("openssl").args(line.split_whitespace()).current_dir(directory).output().expect("start openssl");
    assert!(output.status.success(), "openssl {line}: {}", String::from_utf8_lossy(&output.stderr));
}

/// One certificate for all: its own authority, for server and client.
fn certificates(directory: &Path) {
    let names = "-subj /CN=localhost -addext subjectAltName=DNS:localhost,IP:127.0.0.1";
    openssl(directory, "genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out key.pem");
    openssl(directory, &format!("req -x509 -new -key key.pem -days 2 -out ca.pem {names} -addext keyUsage=digitalSignature,keyCertSign"));
    openssl(directory, &format!("req -new -key key.pem -out request.pem {names}"));
    fs_err::write(directory.join("names"), "subjectAltName=DNS:localhost,IP:127.0.0.1\nbasicConstraints=CA:FALSE\n").expect("written");
    openssl(directory, "x509 -req -in request.pem -CA ca.pem -CAkey key.pem -CAcreateserial -days 2 -out cert.pem -extfile names");
}

fn serve(directory: &Path) -> (Server, u16) {
    let mut child = Command::new("openssl")
        .args(
            "s_server -accept 127.0.0.1:0 -key key.pem -cert cert.pem -CAfile ca.pem -Verify 1 -verify_return_error -www"
                .split_whitespace(),
        )
        .current_dir(directory)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("start openssl");
    let stdout = BufReader::new(child.stdout.take().expect("stdout is piped"));
    let server = Server(child);
    let port = stdout.lines().map_while(Result::ok).find_map(|line| line.strip_prefix("ACCEPT 127.0.0.1:")?.trim().parse().ok());
    (server, port.expect("a port"))
}

#[test]
fn an_engine_behind_tls_is_reached() {
    let sandbox = Sandbox::empty().file("Dockerfile", "FROM scratch\n").file("tests/test_a.py", "def test_a():\n    pass\n");
    let directory = sandbox.outside("certificates");
    fs_err::create_dir_all(&directory).expect("made");
    certificates(&directory);
    let (_server, port) = serve(&directory);
    let doctor = |certificates: &Path| {
        let splitci = sandbox.splitci("doctor").env("DOCKER_HOST", format!("tcp://localhost:{port}"));
        splitci.env("DOCKER_TLS_VERIFY", "1").env("DOCKER_CERT_PATH", certificates).run()
    };
    // It is no engine and answers with a page; to see the page, both have shown a certificate.
    let reached = doctor(&directory);
    reached.expect_exit(3);
    assert!(!reached.stdout.contains("certificate") && !reached.stderr.contains("panicked"), "{reached}");
    // With another authority the same server is not believed.
    let other = sandbox.outside("others");
    fs_err::create_dir_all(&other).expect("made");
    certificates(&other);
    doctor(&other).expect_exit(3).expect_says("certificate");
}
