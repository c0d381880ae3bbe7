//! The docker CLI's contexts: named addresses, kept in files of its configuration directory.
//!
//! `contexts/meta/<sha256 of the name>/meta.json` holds the address, `contexts/tls/<the same>/docker/` the
//! certificates (docker/cli, `cli/context/store`).

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::endpoint::{Endpoint, Tls};
use super::parse;
use crate::failure::{Failure, Kind, Result};
use crate::text::without_bom;

/// Name of the default context: `DOCKER_HOST`, or the default socket.
const DEFAULT_CONTEXT: &str = "default";

/// The settings about the engine in the environment.
pub(super) struct Environment<'a> {
    variable: &'a dyn Fn(&str) -> Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct DockerConfig {
    current_context: String,
    /// By the engine's address, and `default` for the others.
    proxies: BTreeMap<String, BTreeMap<String, Value>>,
}

#[derive(Deserialize)]
struct Meta {
    #[serde(default, rename = "Endpoints")]
    endpoints: Endpoints,
}

#[derive(Default, Deserialize)]
struct Endpoints {
    docker: Option<DockerEndpoint>,
}

#[derive(Deserialize)]
struct DockerEndpoint {
    #[serde(default, rename = "Host")]
    host: String,
}

impl<'a> Environment<'a> {
    pub(super) fn new(variable: &'a dyn Fn(&str) -> Option<String>) -> Self {
        Environment { variable }
    }

    /// A variable that is set and not empty.
    pub(super) fn get(&self, name: &str) -> Option<String> {
        (self.variable)(name).map(|value| value.trim().to_owned()).filter(|value| !value.is_empty())
    }

    /// The certificates, if the environment asks for TLS.
    pub(super) fn tls(&self) -> Option<Tls> {
        self.get("DOCKER_TLS_VERIFY").or_else(|| self.get("DOCKER_TLS"))?;
        // Without a home directory the files are searched in `/`, and the error names them.
        let folder = self.get("DOCKER_CERT_PATH").map(PathBuf::from).or_else(|| self.directory()).unwrap_or_default();
        Some(Tls { ca: Some(folder.join("ca.pem")), cert: folder.join("cert.pem"), key: folder.join("key.pem") })
    }

    /// The context in `DOCKER_CONTEXT` or else the config; `None` for the default.
    pub(super) fn context_name(&self) -> Result<Option<String>> {
        let name = match self.get("DOCKER_CONTEXT") {
            Some(name) => name,
            None => self.current_context()?,
        };
        Ok(Some(name).filter(|name| !name.is_empty() && name != DEFAULT_CONTEXT))
    }

    pub(super) fn context(&self, name: &str) -> Result<Endpoint> {
        let directory = self.directory().unwrap_or_default().join("contexts");
        let key = hex::encode(Sha256::digest(name.as_bytes()));
        let meta: Meta = read(&directory.join("meta").join(&key).join("meta.json"))?.ok_or_else(|| {
            Failure::new(Kind::EngineUnreachable, format!("docker context `{name}` does not exist"))
                .hint("`docker context ls` lists the contexts; DOCKER_CONTEXT and DOCKER_HOST select another engine")
        })?;
        let host = meta.endpoints.docker.map(|endpoint| endpoint.host).unwrap_or_default();
        let certificates = directory.join("tls").join(&key).join("docker");
        let context = format!("the docker context `{name}`");
        // A context without an address means the default socket (docker/cli, `cli/context/docker/load.go`).
        let host = if host.is_empty() { "unix://".to_owned() } else { host };
        parse::endpoint(&host, tls_in(&certificates)).map_err(|failure| failure.context(context))
    }

    fn current_context(&self) -> Result<String> {
        Ok(self.config()?.current_context)
    }

    /// The proxies for processes in containers of the engine at an address, as variables in upper and lower case:
    /// programs use either (docker/cli, `cli/config/configfile`, `ParseProxyConfig`).
    pub(super) fn proxies(&self, host: &str) -> Result<BTreeMap<String, String>> {
        let mut known = self.config()?.proxies;
        let Some(proxies) = known.remove(host).or_else(|| known.remove("default")) else { return Ok(BTreeMap::new()) };
        let mut variables = BTreeMap::new();
        for kind in ["http", "https", "no", "ftp", "all"] {
            let proxy = proxies.get(&format!("{kind}Proxy")).and_then(Value::as_str);
            if let Some(proxy) = proxy.filter(|proxy| !proxy.is_empty()) {
                let name = format!("{kind}_proxy");
                variables.insert(name.to_ascii_uppercase(), proxy.to_owned());
                variables.insert(name, proxy.to_owned());
            }
        }
        Ok(variables)
    }

    fn config(&self) -> Result<DockerConfig> {
        let Some(directory) = self.directory() else { return Ok(DockerConfig::default()) };
        Ok(read(&directory.join("config.json"))?.unwrap_or_default())
    }

    /// The CLI's configuration directory.
    pub(super) fn directory(&self) -> Option<PathBuf> {
        let home = || self.get("HOME").map(|home| Path::new(&home).join(".docker"));
        self.get("DOCKER_CONFIG").map(PathBuf::from).or_else(home)
    }
}

/// The certificates in a context's folder; a context without such a folder has none.
fn tls_in(folder: &Path) -> Option<Tls> {
    let [ca, cert, key] = ["ca.pem", "cert.pem", "key.pem"].map(|name| folder.join(name));
    let any = [&ca, &cert, &key].into_iter().any(|file| file.exists());
    any.then(|| Tls { ca: ca.exists().then_some(ca), cert, key })
}

/// A JSON file, if it exists.
fn read<T: DeserializeOwned>(path: &Path) -> Result<Option<T>> {
    let broken = |why: String| {
        // Without the file, the tool could connect to another engine than the user chose.
        Failure::new(Kind::EngineUnreachable, format!("cannot read `{}`: {why}", path.display()))
            .hint("set DOCKER_HOST to override this file")
    };
    match fs::read(path) {
        Ok(text) => serde_json::from_slice(without_bom(&text)).map(Some).map_err(|error| broken(error.to_string())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(broken(error.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::super::{Address, Origin};
    use super::*;

    /// A docker configuration directory with contexts in it.
    struct Configured {
        directory: TempDir,
    }

    impl Configured {
        fn new(config: &str) -> Self {
            let directory = TempDir::new().unwrap();
            fs::write(directory.path().join("config.json"), config).unwrap();
            Configured { directory }
        }

        fn context(self, name: &str, host: &str) -> Self {
            let folder = self.directory.path().join("contexts/meta").join(hex::encode(Sha256::digest(name)));
            fs::create_dir_all(&folder).unwrap();
            let meta = serde_json::json!({"Name": name, "Metadata": {}, "Endpoints": {"docker": {"Host": host}}});
            fs::write(folder.join("meta.json"), meta.to_string()).unwrap();
            self
        }

        fn resolve(&self, variables: &[(&str, &str)]) -> Result<Address> {
            let config = self.directory.path().display().to_string();
            Address::resolve(&|name| match name {
                "DOCKER_CONFIG" => Some(config.clone()),
                _ => variables.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned()),
            })
        }
    }

    #[test]
    fn docker_host_wins_over_docker_context_and_that_over_the_current_context() {
        let configured = Configured::new("\u{feff}{\"currentContext\":\"a\"}")
            .context("a", "tcp://a:1")
            .context("b", "ssh://me@b:22");
        let current = Origin::Context("a".into());
        let (socket, none) = ("unix:///var/run/docker.sock", Configured::new("{}"));
        let host = [("DOCKER_HOST", "tcp://h:1"), ("DOCKER_CONTEXT", "gone")];
        let empty = [("DOCKER_HOST", ""), ("DOCKER_CONTEXT", " "), ("DOCKER_TLS_VERIFY", "")];
        for (configured, variables, address, origin) in [
            (&configured, host.as_slice(), "tcp://h:1", Origin::Variable),
            (&configured, &[("DOCKER_CONTEXT", "b")], "ssh://me@b:22", Origin::Context("b".into())),
            (&configured, &[("DOCKER_CONTEXT", "default")], socket, Origin::Default),
            (&configured, &[], "tcp://a:1", current),
            (&none, &empty, socket, Origin::Default),
        ] {
            let resolved = configured.resolve(variables).unwrap();
            assert_eq!((resolved.to_string().as_str(), resolved.origin), (address, origin), "{variables:?}");
        }
    }

    #[test]
    fn proxies_are_those_of_the_engine_or_else_the_default() {
        let configured = Configured::new(
            r#"{"proxies":{"default":{"httpProxy":"http://p:1","noProxy":"a,b"},"tcp://h:1":{"httpsProxy":"http://q:2"}}}"#,
        );
        let config = configured.directory.path().display().to_string();
        let variable = |name: &str| (name == "DOCKER_CONFIG").then(|| config.clone());
        let proxies = |host| Environment::new(&variable).proxies(host).unwrap();
        let words = |pairs: &[(&str, &str)]| pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        let default =
            [("HTTP_PROXY", "http://p:1"), ("http_proxy", "http://p:1"), ("NO_PROXY", "a,b"), ("no_proxy", "a,b")];
        assert_eq!(proxies("unix:///var/run/docker.sock"), words(&default));
        assert_eq!(proxies("tcp://h:1"), words(&[("HTTPS_PROXY", "http://q:2"), ("https_proxy", "http://q:2")]));
    }

    #[test]
    fn a_context_that_does_not_exist_is_named() {
        let failure = Configured::new("{}").resolve(&[("DOCKER_CONTEXT", "lab")]).unwrap_err();
        assert_eq!(failure.message, "docker context `lab` does not exist");
        assert!(Configured::new(r#"{"currentContext":"lab"}"#).resolve(&[]).is_err());
    }

    #[test]
    fn a_config_that_cannot_be_read_is_not_passed_over() {
        let failure = Configured::new("{").resolve(&[]).unwrap_err();
        assert!(failure.message.contains("config.json"), "{failure}");
    }

    #[test]
    fn a_contexts_certificates_are_its_own() {
        let configured = Configured::new("{}").context("a", "tcp://a:2376");
        let folder =
            configured.directory.path().join("contexts/tls").join(hex::encode(Sha256::digest("a"))).join("docker");
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("ca.pem"), "").unwrap();
        let address = configured.resolve(&[("DOCKER_CONTEXT", "a")]).unwrap();
        let Endpoint::Tcp { tls: Some(tls), .. } = address.endpoint else { unreachable!("plain HTTP") };
        assert_eq!(tls.ca, Some(folder.join("ca.pem")));
    }

    #[test]
    fn tls_asked_for_is_tls() {
        let configured = Configured::new("{}");
        let variables = [("DOCKER_TLS_VERIFY", "1"), ("DOCKER_CERT_PATH", "/c"), ("DOCKER_HOST", "tcp://h")];
        assert_eq!(configured.resolve(&variables).unwrap().to_string(), "https://h:2376");
        assert_eq!(configured.resolve(&variables[..2]).unwrap().to_string(), "https://localhost:2376");
        let Endpoint::Tcp { tls: Some(tls), .. } = configured.resolve(&variables).unwrap().endpoint else {
            unreachable!("plain HTTP")
        };
        assert_eq!(tls.ca.as_deref(), Some(Path::new("/c/ca.pem")));
    }
}
