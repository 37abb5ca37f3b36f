//! The same hub behind TLS, with a certificate that no authority of the web has signed.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, Stream};

use crate::support::{PETS, World, noise, read, refused};

/// Made for these tests: for 127.0.0.1, signed by itself.
const CERTIFICATE: &str = include_str!("tls/certificate.pem");
const KEY: &str = include_str!("tls/key.pem");

/// Puts TLS before the server at `address`: its new endpoint. Requests must have no body.
fn behind_tls(address: String) -> String {
    let certificate = CertificateDer::from_pem_slice(CERTIFICATE.as_bytes()).unwrap();
    let key = PrivateKeyDer::from_pem_slice(KEY.as_bytes()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .unwrap();
    let config = Arc::new(config);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("https://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            // A client that trusts nobody leaves at once.
            drop(pass(&config, stream, &address));
        }
    });
    endpoint
}

fn pass(config: &Arc<ServerConfig>, mut tcp: TcpStream, address: &str) -> std::io::Result<()> {
    let mut connection = ServerConnection::new(config.clone()).expect("a server");
    let mut client = Stream::new(&mut connection, &mut tcp);
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        client.read_exact(&mut byte)?;
        request.extend(byte);
    }
    let mut server = TcpStream::connect(address)?;
    server.write_all(&request)?;
    let mut answer = Vec::new();
    server.read_to_end(&mut answer)?;
    client.write_all(&answer)?;
    connection.send_close_notify();
    connection.complete_io(&mut tcp).map(drop)
}

#[test]
fn only_a_hub_that_is_vouched_for_is_trusted() {
    let mut world = World::new();
    let bytes = noise(900);
    world.server.add(PETS, "main", &[("train.parquet", &bytes)]);
    let plain = world.server.endpoint.strip_prefix("http://").unwrap();
    world.settings.endpoint = behind_tls(plain.to_owned());
    refused(
        world.dataset("them/pets"),
        &[
            "cannot be reached",
            "invalid peer certificate",
            "SSL_CERT_FILE",
        ],
    );
    assert_eq!(world.server.state().log.len(), 0);

    let file = world.folder.path().join("authorities.pem");
    std::fs::write(&file, CERTIFICATE).unwrap();
    world.settings.certificates = Some(file.clone());
    let found = world.dataset("them/pets").expect("a data set");
    assert_eq!(read(&found.folder, "train.parquet"), bytes);

    std::fs::write(&file, "no certificate").unwrap();
    let error = vitcuda::hub::Hub::new(world.settings.clone())
        .err()
        .expect("an error");
    assert!(
        error.to_string().contains("it holds no certificate"),
        "{error}"
    );
}
