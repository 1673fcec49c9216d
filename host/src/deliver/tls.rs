//! TLS of one destination: whom it trusts, and what it shows of itself.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};

use crate::config::Tls;

/// Builds the TLS settings of a destination. The system's authorities are trusted when it names none of its own, or beside it if so wished.
///
/// # Errors
/// The file that cannot be used, or that there is no authority to trust.
pub(super) fn client_config(tls: &Tls, trust_system: bool) -> Result<ClientConfig, String> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut roots = RootCertStore::empty();
    if let Some(path) = &tls.ca {
        for certificate in certificates(path)? {
            roots.add(certificate).map_err(|error| format!("`tls.ca`: `{}` holds no authority: {error}", path.display()))?;
        }
    }
    if tls.ca.is_none() || trust_system {
        let found = rustls_native_certs::load_native_certs();
        // Single ones that cannot be read or used are the system's business, as long as there are others.
        roots.add_parsable_certificates(found.certs);
    }
    if roots.is_empty() {
        return Err(
            "no authorities to trust are installed on this system; install them (Debian: `ca-certificates`) or name some in `tls.ca`".to_owned()
        );
    }
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_root_certificates(roots);
    match (&tls.client_certificate, &tls.client_key) {
        (Some(certificate), Some(key)) => {
            let private = PrivateKeyDer::from_pem_file(key).map_err(|error| format!("`tls.client_key`: `{}`: {error}", key.display()))?;
            builder
                .with_client_auth_cert(certificates(certificate)?, private)
                .map_err(|error| format!("`tls.client_certificate`: `{}` with `{}`: {error}", certificate.display(), key.display()))
        }
        (None, None) => Ok(builder.with_no_client_auth()),
        _ => Err("`tls.client_certificate` and `tls.client_key` are only of use together".to_owned()),
    }
}

/// The files that these settings are read from. The system's authorities are read with them, not followed.
pub(super) fn files(tls: &Tls) -> Vec<PathBuf> {
    [&tls.ca, &tls.client_certificate, &tls.client_key].into_iter().flatten().cloned().collect()
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let read = || CertificateDer::pem_file_iter(path)?.collect::<Result<Vec<_>, _>>();
    let found = read().map_err(|error| format!("`{}`: {error}", path.display()))?;
    if found.is_empty() { Err(format!("`{}` holds no certificate in PEM form", path.display())) } else { Ok(found) }
}

#[cfg(test)]
mod tests;
