//! The connection to S3, with settings from the standard places.
//!
//! Region: `AWS_REGION`, `AWS_DEFAULT_REGION`, the profile, else `us-east-1`; EC2's metadata service is not asked for
//! it, which takes a second on every machine that is not in EC2. Server: `AWS_ENDPOINT_URL_S3`, `AWS_ENDPOINT_URL`, the
//! profile, else AWS; with another server the bucket's name goes into the path, since few have DNS names for buckets.
//! Credentials: the SDK's whole chain. Proxies: `HTTPS_PROXY`, `HTTP_PROXY`, `NO_PROXY`. `AWS_CA_BUNDLE` replaces the
//! system's certificates, as for the AWS CLI; the SDK for Rust ignores it, so it is read here.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use aws_config::environment::region::EnvironmentVariableRegionProvider;
use aws_config::meta::region::RegionProviderChain;
use aws_config::profile::ProfileFileRegionProvider;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_sdk_s3::Client;
use aws_sdk_s3::config::{RequestChecksumCalculation, SharedHttpClient, StalledStreamProtectionConfig};
use aws_smithy_http_client::proxy::ProxyConfig;
use aws_smithy_http_client::tls::{self, TlsContext, TrustStore, rustls_provider::CryptoMode};
use aws_smithy_http_client::{Builder, Connector};
use aws_types::service_config::ServiceConfigKey;
use rustls::RootCertStore;
use rustls::pki_types::{CertificateDer, pem::PemObject};

use crate::bucket::retry::{PatienceClassifier, retry_config, retry_partition};
use crate::failure::{Failure, IoContext, Kind, Result};
use crate::text;

const DEFAULT_REGION: &str = "us-east-1";

/// A busy server still accepts a connection within this time; a machine that is switched off never does.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// From the end of a request to the beginning of its answer. Completing an upload of many parts takes its time.
const READ_TIMEOUT: Duration = Duration::from_secs(60);

/// How long a transfer may stand still.
const STALL: Duration = Duration::from_secs(20);

/// The AWS settings of this process, for clients of other services (SQS) too.
///
/// # Errors
/// If `AWS_CA_BUNDLE` names a file that cannot be read.
pub async fn aws_settings() -> Result<SdkConfig> {
    let region = RegionProviderChain::first_try(EnvironmentVariableRegionProvider::new())
        .or_else(ProfileFileRegionProvider::new())
        .or_else(Region::from_static(DEFAULT_REGION));
    let timeouts = TimeoutConfig::builder().connect_timeout(CONNECT_TIMEOUT).read_timeout(READ_TIMEOUT).build();
    let stall = StalledStreamProtectionConfig::enabled().grace_period(STALL).build();
    Ok(aws_config::defaults(BehaviorVersion::v2026_01_12())
        .region(region)
        .timeout_config(timeouts)
        .stalled_stream_protection(stall)
        .http_client(http_client()?)
        // Buckets with Object Lock require a checksum with each write. Content is always sent from memory, so the SDK
        // puts it into a header: not every server understands trailers.
        .request_checksum_calculation(RequestChecksumCalculation::WhenSupported)
        .load()
        .await)
}

/// A client, and what to call the server that it talks to in messages.
pub(super) async fn connect() -> Result<(Client, String)> {
    let settings = aws_settings().await?;
    let endpoint = endpoint(&settings);
    let server = match &endpoint {
        Some(url) => text::without_credentials(url),
        None => format!("S3 in {}", settings.region().map_or(DEFAULT_REGION, AsRef::as_ref)),
    };
    let mut config = aws_sdk_s3::config::Builder::from(&settings)
        .force_path_style(endpoint.is_some())
        .retry_config(retry_config())
        .retry_partition(retry_partition())
        .retry_classifier(PatienceClassifier);
    config.set_endpoint_url(endpoint);
    Ok((Client::from_conf(config.build()), server))
}

/// The server for S3, where one is set. An empty setting is none.
fn endpoint(settings: &SdkConfig) -> Option<String> {
    let key =
        ServiceConfigKey::builder().service_id("S3").env("AWS_ENDPOINT_URL").profile("endpoint_url").build().ok()?;
    let for_s3 = settings.service_config().and_then(|config| config.load_config(key));
    for_s3
        .filter(|url| !url.is_empty())
        .or_else(|| settings.endpoint_url().map(str::to_owned))
        .filter(|url| !url.is_empty())
}

fn http_client() -> Result<SharedHttpClient> {
    let tls = tls_context()?;
    Ok(Builder::new().build_with_connector_fn(move |settings, components| {
        let mut connector = Connector::builder()
            .tls_provider(tls::Provider::Rustls(CryptoMode::Ring))
            .tls_context(tls.clone())
            .proxy_config(ProxyConfig::from_env());
        connector.set_connector_settings(settings.cloned());
        connector.set_sleep_impl(components.and_then(|components| components.sleep_impl()));
        connector.build()
    }))
}

fn tls_context() -> Result<TlsContext> {
    let bundle = std::env::var_os("AWS_CA_BUNDLE").filter(|path| !path.is_empty()).map(PathBuf::from);
    let unusable = |cause: &str| {
        let words = format!("cannot load the certificates of trusted CAs: {cause}");
        Failure::new(Kind::Usage, words).hint("set AWS_CA_BUNDLE to a file of certificates in PEM")
    };
    let mut trusted = TrustStore::default();
    if let Some(path) = &bundle {
        let pem = fs::read(path).doing("read AWS_CA_BUNDLE", path)?;
        check_certificates(&pem).map_err(|cause| unusable(&format!("`{}`: {cause}", path.display())))?;
        trusted = TrustStore::empty().with_pem_certificate(pem);
    }
    TlsContext::builder().with_trust_store(trusted).build().map_err(|error| unusable(&error.to_string()))
}

/// The HTTP client panics on certificates that it cannot read.
fn check_certificates(pem: &[u8]) -> Result<(), String> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem) {
        let certificate = certificate.map_err(|error| error.to_string())?;
        roots.add(certificate).map_err(|error| error.to_string())?;
    }
    if roots.is_empty() { Err("it contains no PEM certificate".to_owned()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn certificates_that_cannot_be_read_are_refused() {
        for pem in ["", "garbage", "-----BEGIN CERTIFICATE-----\n"] {
            assert!(check_certificates(pem.as_bytes()).is_err(), "{pem:?}");
        }
        let no_certificate = "-----BEGIN CERTIFICATE-----\nZ2FyYmFnZQ==\n-----END CERTIFICATE-----\n";
        assert!(check_certificates(no_certificate.as_bytes()).is_err());
    }
}
