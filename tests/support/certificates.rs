//! Certificates that are made while a test runs.
//!
//! Owns a certification authority of the test's own and the files of what it issues.
#![allow(
    dead_code,
    unreachable_pub,
    missing_debug_implementations,
    clippy::unwrap_used,
    reason = "each test file uses its own part of the harness, and what is not as expected fails the test"
)]

use actix_ipc::platform::secret;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    date_time_ymd,
};
use std::path::{Path, PathBuf};

/// A certification authority in a folder.
pub struct Ca {
    issuer: Issuer<'static, KeyPair>,
    pub pem: PathBuf,
}

/// What a certificate is to be.
pub struct Wanted<'a> {
    pub names: &'a [&'a str],
    pub expired: bool,
    pub usage: ExtendedKeyUsagePurpose,
}

/// The broker's.
pub const SERVER: Wanted<'_> = Wanted {
    names: &["broker.example"],
    expired: false,
    usage: ExtendedKeyUsagePurpose::ServerAuth,
};
/// A client's.
pub const CLIENT: Wanted<'_> = Wanted {
    names: &["lamp.example"],
    expired: false,
    usage: ExtendedKeyUsagePurpose::ClientAuth,
};

impl Ca {
    /// A new one; its certificate is in `NAME.pem`.
    pub fn new(folder: &Path, name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().unwrap();
        let pem = folder.join(format!("{name}.pem"));
        std::fs::write(&pem, params.self_signed(&key).unwrap().pem()).unwrap();
        Self {
            issuer: Issuer::new(params, key),
            pem,
        }
    }

    /// A certificate and its key, as files.
    pub fn issue(&self, folder: &Path, file: &str, wanted: &Wanted<'_>) -> (PathBuf, PathBuf) {
        let names: Vec<String> = wanted.names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        params
            .distinguished_name
            .push(DnType::CommonName, "nobody reads this");
        params.extended_key_usages.push(wanted.usage.clone());
        if wanted.expired {
            params.not_before = date_time_ymd(2001, 1, 1);
            params.not_after = date_time_ymd(2002, 1, 1);
        }
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let paths = (
            folder.join(format!("{file}.pem")),
            folder.join(format!("{file}.key")),
        );
        std::fs::write(&paths.0, certificate.pem()).unwrap();
        secret::create(&paths.1, key.serialize_pem().as_bytes()).unwrap();
        paths
    }
}
