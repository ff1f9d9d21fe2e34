//! Who dials a Pod: from which address, and with which identity of the mesh, if any.

use std::io::{ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, SanType};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use serde_json::{Value, json};
use tokio::net::TcpSocket;

/// After which a client that waits for the other side to begin does so itself. What passes does so in milliseconds.
const PATIENCE: Duration = Duration::from_secs(4);

/// Somebody who dials.
#[derive(Debug, Clone, Copy)]
pub(super) struct Source {
    /// Who that is.
    pub(super) name: &'static str,
    /// The address it dials from.
    pub(super) ip: &'static str,
    /// `NAMESPACE/SERVICE-ACCOUNT`, where its own sidecar dials for it with mutual TLS.
    pub(super) identity: Option<&'static str>,
    /// What it asks of Jupyter, and whom the ingress says it is.
    pub(super) request: &'static str,
    /// What it says to an sshd before that has greeted: nothing, or how every client's line begins (RFC 4253, 4.2).
    pub(super) first: &'static str,
}

/// The mesh's certificate authority, and the Pod's own certificate of it.
pub(super) struct Certificates {
    authority: CertifiedIssuer<'static, KeyPair>,
    pod: (String, String),
}

impl Certificates {
    pub(super) fn new() -> Self {
        let mut parameters = CertificateParams::default();
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        // A name of its own: one who signs in the name of the signed counts as signed by itself.
        parameters.distinguished_name.push(DnType::CommonName, "mesh");
        let authority = CertifiedIssuer::self_signed(parameters, KeyPair::generate().unwrap()).unwrap();
        let key = KeyPair::generate().unwrap();
        let pod = CertificateParams::new(vec!["pod.test".to_owned()]).unwrap().signed_by(&key, &authority).unwrap();
        Self { pod: (pod.pem(), key.serialize_pem()), authority }
    }

    /// What a sidecar shows, and that it takes peers with a certificate of the mesh alone.
    pub(super) fn required(&self) -> Value {
        let inline = |text: &str| json!({"inline_string": text});
        json!({
            "require_client_certificate": true,
            "common_tls_context": {
                "alpn_protocols": ["istio-http/1.1", "istio"],
                "tls_certificates": [{"certificate_chain": inline(&self.pod.0), "private_key": inline(&self.pod.1)}],
                "validation_context": {"trusted_ca": inline(&self.authority.pem())},
            },
        })
    }

    /// A sidecar's side of a connection that it dials for a Pod of this ServiceAccount.
    fn client(&self, identity: &str, protocol: &str) -> ClientConfig {
        let (namespace, account) = identity.split_once('/').unwrap();
        let uri = format!("spiffe://cluster.local/ns/{namespace}/sa/{account}");
        let mut parameters = CertificateParams::default();
        parameters.subject_alt_names = vec![SanType::URI(uri.try_into().unwrap())];
        let key = KeyPair::generate().unwrap();
        let certificate = parameters.signed_by(&key, &self.authority).unwrap().der().clone();
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let mut trusted = RootCertStore::empty();
        trusted.add(self.authority.der().clone()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let versions = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let mut config =
            versions.with_root_certificates(trusted).with_client_auth_cert(vec![certificate], key).unwrap();
        config.alpn_protocols = vec![protocol.as_bytes().to_vec()];
        config
    }
}

/// What came of dialling.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Came {
    /// What listens there answered.
    Passes,
    /// The connection was closed, or the answer was 403.
    Refused,
    /// Nothing came until the client had spoken.
    Waits,
}

/// Dials `port` of the Pod at `ip` as `source` would. On 2209 it waits for the greeting, unless it says something first.
pub(super) async fn dial(source: Source, ip: &str, port: u16, mesh: Arc<Certificates>) -> Came {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(SocketAddr::new(source.ip.parse().unwrap(), 0)).unwrap();
    let connected = socket.connect(SocketAddr::new(ip.parse().unwrap(), port)).await.unwrap();
    tokio::task::spawn_blocking(move || {
        let stream = connected.into_std().unwrap();
        stream.set_nonblocking(false).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let request = if port == 8888 { source.request } else { source.first };
        let request = request.replace('\n', "\r\n");
        match source.identity {
            None => asked(stream, &request),
            Some(identity) => {
                let config = mesh.client(identity, if port == 8888 { "istio-http/1.1" } else { "istio" });
                let name = ServerName::try_from("pod.test").unwrap();
                asked(StreamOwned::new(ClientConnection::new(Arc::new(config), name).unwrap(), stream), &request)
            }
        }
    })
    .await
    .unwrap()
}

/// On 2209 both sides must have spoken: Envoy asks its policies at the client's first byte, and lets the greeting of a
/// server that speaks first out before that.
fn asked(mut stream: impl Read + Write, request: &str) -> Came {
    let mut said = |bytes: &[u8]| {
        let mut answer = [0; 12];
        // Reading shakes hands first, where there is TLS to begin with.
        stream.write_all(bytes)?;
        stream.flush()?;
        stream.read_exact(&mut answer).map(|()| answer)
    };
    let hello = b"SSH-2.0-client\r\n";
    let first = said(request.as_bytes());
    let last = match &first {
        Ok(greeting) if greeting.starts_with(b"SSH-") => said(hello),
        Err(error) if is_silence(error) => return said(hello).map(|_| Came::Waits).expect("it waited for the client"),
        _ => first,
    };
    match last {
        Ok(answer) if answer.starts_with(b"SSH-") || answer.ends_with(b" 200") => Came::Passes,
        Ok(answer) if answer.ends_with(b" 403") => Came::Refused,
        Ok(answer) => panic!("an answer of its own kind: {}", String::from_utf8_lossy(&answer)),
        Err(error) => {
            assert!(!is_silence(&error), "no answer");
            Came::Refused
        }
    }
}

fn is_silence(error: &std::io::Error) -> bool {
    [ErrorKind::WouldBlock, ErrorKind::TimedOut].contains(&error.kind())
}
