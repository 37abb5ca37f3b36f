//! Files that lie anywhere on the web.

use std::io::Read;

use vitcuda_hub::reqwest::Method;

use super::Hub;
use super::failure::Failure;
use super::http::{Request, Token};
use super::settings::Network;
use super::transfer::Transfer;

impl Hub {
    /// The bytes at `url`, of which there may be `most`; or what went wrong, in words. The token is
    /// not sent.
    pub fn bytes(&self, url: &str, most: u64) -> Result<Vec<u8>, String> {
        if self.settings().network == Network::Offline {
            return Err("HF_HUB_OFFLINE is set, so nothing is asked of the web".into());
        }
        let mut request = Request::new(Method::GET, url.to_owned());
        request.token = Token::Withheld;
        let mut silent = |_: Transfer| {};
        let answer = self.client.http.send(&request, &mut silent);
        let answer = answer.map_err(|failure| match failure.status() {
            Some(status) => format!("the server answers {status}"),
            None => failure.to_string(),
        })?;
        let mut bytes = Vec::new();
        answer
            .take(most + 1)
            .read_to_end(&mut bytes)
            .map_err(|e| Failure::broken(url, &e).to_string())?;
        if bytes.len() as u64 > most {
            Err(format!("it is larger than {} MiB", most >> 20))
        } else {
            Ok(bytes)
        }
    }
}
