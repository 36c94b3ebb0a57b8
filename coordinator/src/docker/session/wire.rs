//! A connection that is taken over after the engine's `101`: on that of `POST /session` the engine becomes the one who asks, on that of `POST /grpc` it is asked.
//!
//! The one seam of the session: what comes out is a stream on which HTTP/2 is spoken. Engines that do without `/session` will get
//! another function like `hijack`; nothing else knows the difference. `bollard` hands out no upgraded connection, so the endpoint is dialled here.

use std::path::Path;
use std::sync::Arc;

use bollard::errors::Error as Cause;
use http_body_util::BodyExt;
use hyper::client::conn::http1;
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::task::JoinSet;

use crate::docker::Endpoint;

/// A connection, whatever it is made of.
trait Wire: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Wire for T {}

/// Asks the engine to turn a connection around and hands it out. `headers` say who is calling and what may be asked.
pub(super) async fn hijack(endpoint: &Endpoint, path: &'static str, headers: &[(&'static str, String)]) -> Result<Upgraded, Cause> {
    let wire = dial(endpoint).await?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(wire)).await?;
    let mut driving = JoinSet::new();
    driving.spawn(connection.with_upgrades());
    let request = hyper::Request::post(path).header("Host", "docker").header("Connection", "Upgrade").header("Upgrade", "h2c");
    let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, value));
    let response = sender.send_request(request.body(String::new())?).await?;
    if response.status() == hyper::StatusCode::SWITCHING_PROTOCOLS {
        return Ok(hyper::upgrade::on(response).await?);
    }
    let status_code = response.status().as_u16();
    let message = response.into_body().collect().await?.to_bytes();
    Err(Cause::DockerResponseServerError { status_code, message: String::from_utf8_lossy(&message).trim().to_owned() })
}

async fn dial(endpoint: &Endpoint) -> Result<Box<dyn Wire>, Cause> {
    Ok(match endpoint {
        Endpoint::Unix(path) => Box::new(UnixStream::connect(path).await?),
        Endpoint::Tcp(address) => Box::new(tcp(address).await?),
        Endpoint::Tls { address, certificates } => {
            let config = Arc::new(tls(certificates)?);
            let host = address.rsplit_once(':').map_or(address.as_str(), |(host, _)| host).trim_matches(['[', ']']);
            let name = ServerName::try_from(host.to_owned()).map_err(std::io::Error::other)?;
            Box::new(tokio_rustls::TlsConnector::from(config).connect(name, tcp(address).await?).await?)
        }
        Endpoint::Ssh(remote) => return Err(std::io::Error::other(format!("{remote} is not dialled but tunnelled to")).into()),
    })
}

async fn tcp(address: &str) -> std::io::Result<TcpStream> {
    let stream = TcpStream::connect(address).await?;
    // Requests for files are a few bytes each, and the engine waits for every answer.
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// The engine is trusted as for every other request: by the machine's authorities and the folder's own, and shown the folder's certificate.
fn tls(folder: &Path) -> std::io::Result<rustls::ClientConfig> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    roots.add_parsable_certificates(certificates(&folder.join("ca.pem"))?);
    let key = PrivateKeyDer::from_pem_slice(&fs_err::read(folder.join("key.pem"))?).map_err(std::io::Error::other)?;
    let config = rustls::ClientConfig::builder().with_root_certificates(roots);
    config.with_client_auth_cert(certificates(&folder.join("cert.pem"))?, key).map_err(std::io::Error::other)
}

fn certificates(path: &Path) -> std::io::Result<Vec<CertificateDer<'static>>> {
    CertificateDer::pem_slice_iter(&fs_err::read(path)?).collect::<Result<_, _>>().map_err(std::io::Error::other)
}
