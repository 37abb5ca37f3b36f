//! Where the hub is, where its files are kept, and who asks: the environment variables of Python's
//! `huggingface_hub`, with the same meaning.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use crate::error::{Error, Result};

/// Whether the network may be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Network {
    Online,
    /// `HF_HUB_OFFLINE`: the cache has to do.
    Offline,
}

/// How the hub is used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// `HF_ENDPOINT`, without a slash at its end.
    pub endpoint: String,
    /// `HF_HUB_CACHE`, or `hub` in `HF_HOME`: the cache that Python's tools use.
    pub cache: PathBuf,
    /// `HF_TOKEN`, or what the file at `HF_TOKEN_PATH` or `token` in `HF_HOME` holds.
    pub token: Option<String>,
    pub network: Network,
    /// `SSL_CERT_FILE`: the authorities to trust, in PEM, in place of those of the web.
    pub certificates: Option<PathBuf>,
    /// Pause before the second try of a request that may do better; doubled before each further one.
    pub pause: Duration,
    /// An answer that is read whole, as a listing is, has to be there within this time.
    pub patience: Duration,
}

impl Settings {
    /// As the environment says. [`Error::Io`] for a token file that is there and cannot be read.
    ///
    /// The person's folder is that of `HOME`, or as the system knows it.
    pub fn from_environment() -> Result<Self> {
        Self::of(|name| match (std::env::var_os(name), name) {
            (None, "HOME") => std::env::home_dir().map(PathBuf::into_os_string),
            (value, _) => value,
        })
    }

    /// As `variables` say; empty ones count as absent. [`Error::Usage`] where none says where the
    /// cache is.
    pub fn of(variables: impl Fn(&str) -> Option<OsString>) -> Result<Self> {
        let variable = |name: &str| variables(name).filter(|value| !value.is_empty());
        let text = |name| variable(name).map(|value| value.to_string_lossy().trim().to_owned());
        let user = || variable("HOME").or_else(|| variable("USERPROFILE"));
        let path = |name| {
            let path = PathBuf::from(variable(name)?);
            match (path.strip_prefix("~"), user()) {
                (Ok(rest), Some(user)) => Some(PathBuf::from(user).join(rest)),
                _ => Some(path),
            }
        };
        let home = path("HF_HOME").or_else(|| {
            let caches = path("XDG_CACHE_HOME");
            let caches = caches.or_else(|| Some(PathBuf::from(user()?).join(".cache")));
            Some(caches?.join("huggingface"))
        });
        let cache = path("HF_HUB_CACHE").or_else(|| path("HUGGINGFACE_HUB_CACHE"));
        let cache = cache.or_else(|| Some(home.as_ref()?.join("hub")));
        let cache = cache.ok_or_else(|| {
            Error::usage(
                "there is no place for what is loaded from the hub: this user has no home folder",
                "let HF_HOME name a folder",
            )
        })?;
        let is_on = |name| {
            let value: Option<String> = text(name);
            value.is_some_and(|v| ["1", "on", "yes", "true"].contains(&v.to_lowercase().as_str()))
        };
        let token = match text("HF_TOKEN").or_else(|| text("HUGGING_FACE_HUB_TOKEN")) {
            Some(token) => Some(token),
            None => {
                let file = path("HF_TOKEN_PATH").or_else(|| Some(home?.join("token")));
                match file.filter(|file| file.exists()) {
                    Some(file) => Some(
                        std::fs::read_to_string(&file)
                            .map_err(|e| Error::io(&file, "read the token", e))?,
                    ),
                    None => None,
                }
            }
        };
        let endpoint = text("HF_ENDPOINT").unwrap_or_else(|| "https://huggingface.co".to_owned());
        Ok(Self {
            endpoint: endpoint.trim_end_matches('/').to_owned(),
            cache,
            token: token
                .map(|token| token.trim().to_owned())
                .filter(|token| !token.is_empty()),
            network: if is_on("HF_HUB_OFFLINE") || is_on("TRANSFORMERS_OFFLINE") {
                Network::Offline
            } else {
                Network::Online
            },
            certificates: path("SSL_CERT_FILE"),
            pause: Duration::from_millis(500),
            patience: Duration::from_secs(120),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(variables: &[(&str, &str)]) -> Settings {
        Settings::of(|name| {
            let found = variables.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| value.into())
        })
        .expect("settings")
    }

    #[test]
    fn defaults_are_pythons() {
        let plain = settings(&[("HOME", "/people/a")]);
        assert_eq!(plain.endpoint, "https://huggingface.co");
        assert_eq!(
            plain.cache,
            PathBuf::from("/people/a/.cache/huggingface/hub")
        );
        assert_eq!((plain.token, plain.network), (None, Network::Online));
        let caches = settings(&[("HOME", "/people/a"), ("XDG_CACHE_HOME", "/x")]);
        assert_eq!(caches.cache, PathBuf::from("/x/huggingface/hub"));
    }

    /// Not the folder that the person happens to be in.
    #[test]
    fn without_a_home_the_cache_has_to_be_named() {
        let error = Settings::of(|_| None).unwrap_err();
        assert_eq!(error.exit_code(), 2);
        assert!(error.help().unwrap().contains("HF_HOME"));
        let named = settings(&[("HF_HUB_CACHE", "/shared/hub")]);
        assert_eq!(named.cache, PathBuf::from("/shared/hub"));
    }

    #[test]
    fn variables_are_honoured() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("token"), " hf_file\n").unwrap();
        let home = folder.path().to_str().unwrap();
        let from_file = settings(&[("HF_HOME", home), ("HF_ENDPOINT", "http://mirror/")]);
        assert_eq!(from_file.cache, folder.path().join("hub"));
        assert_eq!(from_file.endpoint, "http://mirror");
        assert_eq!(from_file.token.as_deref(), Some("hf_file"));
        let all = settings(&[
            ("HOME", "/people/a"),
            ("HF_HOME", home),
            ("HF_HUB_CACHE", "~/elsewhere"),
            ("HF_TOKEN", "hf_variable"),
            ("HF_HUB_OFFLINE", "TRUE"),
        ]);
        assert_eq!(all.cache, PathBuf::from("/people/a/elsewhere"));
        assert_eq!(all.token.as_deref(), Some("hf_variable"));
        assert_eq!(all.network, Network::Offline);
        assert_eq!(
            settings(&[("HOME", "/people/a"), ("HF_HUB_OFFLINE", "0")]).network,
            Network::Online
        );
    }
}
