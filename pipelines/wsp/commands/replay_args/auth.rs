//! Credentials that a fixed header cannot carry, and the proxy in between.

use std::path::PathBuf;

use clap::Args;
use hyper::Uri;
use hyper_util::client::proxy::matcher::Matcher;
use wsp_replay::{Auth, ClientCredentials, Error, Grant, HttpProxy, Target, proxy};

use super::place;

/// No proxy, whatever the environment says.
const DIRECT: &str = "none";

// Logins that change, and proxies.
#[derive(Debug, Args)]
#[command(next_help_heading = "Login and proxy")]
pub(crate) struct AuthArgs {
    /// Log in by OAuth 2.0: the URL that hands out tokens for client credentials. They are fetched anew before they expire, and
    /// after a 401.
    #[arg(long, value_name = "URL", group = "login", requires = "oauth_id")]
    oauth_url: Option<String>,
    /// The client's id.
    #[arg(long, value_name = "ID", requires = "oauth_url")]
    oauth_id: Option<String>,
    /// A variable of the environment with the client's secret.
    #[arg(long, value_name = "VARIABLE", requires = "oauth_url", conflicts_with = "oauth_secret_file")]
    oauth_secret_env: Option<String>,
    /// A file with the client's secret.
    #[arg(long, value_name = "FILE", requires = "oauth_url")]
    oauth_secret_file: Option<PathBuf>,
    /// What the token has to allow, with blanks between.
    #[arg(long, value_name = "SCOPES", requires = "oauth_url")]
    oauth_scope: Option<String>,
    /// Whom the token is for.
    #[arg(long, value_name = "AUDIENCE", requires = "oauth_url")]
    oauth_audience: Option<String>,
    /// Send id and secret in the body of the request for a token, in place of basic authentication.
    #[arg(long, requires = "oauth_url")]
    oauth_in_body: bool,
    /// Sign each attempt for AWS, with the credentials of the AWS environment: such as execute-api/eu-west-2.
    #[cfg(feature = "s3")]
    #[arg(long, value_name = "SERVICE/REGION", group = "login")]
    aws_sigv4: Option<String>,
    /// An HTTP proxy, as `http://HOST:PORT`; none goes without one although the environment names one.
    #[arg(long, value_name = "URL")]
    proxy: Option<String>,
    /// A variable of the environment with the proxy's user:password.
    #[arg(long, value_name = "VARIABLE", requires = "proxy", conflicts_with = "proxy_login_file")]
    proxy_login_env: Option<String>,
    /// A file with the proxy's user:password.
    #[arg(long, value_name = "FILE", requires = "proxy")]
    proxy_login_file: Option<PathBuf>,
}

impl AuthArgs {
    /// The target with all of it.
    pub(super) fn applied(&self, target: Target) -> Result<Target, Error> {
        let proxy = self.proxy(&target)?;
        let target = target.through(proxy);
        let target = match self.client()? {
            Some(client) => target.authorized("--oauth-url", Auth::ClientCredentials(Box::new(client)))?,
            None => target,
        };
        self.signed(target)
    }

    /// A flag that was given and means nothing to a sink that is no intake of HTTP.
    pub(super) fn http_only(&self) -> Option<&'static str> {
        #[cfg(feature = "s3")]
        let signs = self.aws_sigv4.is_some();
        #[cfg(not(feature = "s3"))]
        let signs = false;
        [(self.oauth_url.is_some(), "--oauth-url"), (signs, "--aws-sigv4"), (self.proxy.is_some(), "--proxy")]
            .into_iter()
            .find_map(|(given, flag)| given.then_some(flag))
    }

    #[cfg(feature = "s3")]
    fn signed(&self, target: Target) -> Result<Target, Error> {
        let Some(scope) = &self.aws_sigv4 else { return Ok(target) };
        target.authorized("--aws-sigv4", Auth::Sigv4(wsp_replay::Sigv4::new(scope)?))
    }

    #[cfg(not(feature = "s3"))]
    #[expect(clippy::unused_self, clippy::unnecessary_wraps, reason = "the face of the build with AWS")]
    fn signed(&self, target: Target) -> Result<Target, Error> {
        Ok(target)
    }

    fn client(&self) -> Result<Option<ClientCredentials>, Error> {
        let (Some(url), Some(id)) = (&self.oauth_url, &self.oauth_id) else { return Ok(None) };
        let secret = place(self.oauth_secret_env.as_ref(), self.oauth_secret_file.as_ref());
        let missing = || Error::flag("--oauth-url", "name the secret by --oauth-secret-env or --oauth-secret-file");
        let grant = Grant {
            url: url.clone(),
            id: id.clone(),
            secret: secret.ok_or_else(missing)?,
            scope: self.oauth_scope.clone(),
            audience: self.oauth_audience.clone(),
            in_body: self.oauth_in_body,
        };
        ClientCredentials::new(&grant).map(Some)
    }

    /// The proxy. One that only the environment names is neither used nor passed by without a word.
    fn proxy(&self, target: &Target) -> Result<Option<HttpProxy>, Error> {
        match self.proxy.as_deref() {
            Some(DIRECT) => Ok(None),
            Some(url) => {
                let login = place(self.proxy_login_env.as_ref(), self.proxy_login_file.as_ref());
                proxy(url, login.as_ref()).map(Some)
            }
            None => match named(target, |name| std::env::var(name).ok()) {
                Some(variable) => {
                    let what = format!(
                        "{variable} names a proxy for {}; say --proxy URL to go through one, or --proxy none to go without",
                        target.url().host()
                    );
                    Err(Error::flag("--proxy", what))
                }
                None => Ok(None),
            },
        }
    }
}

/// The variable by which curl would use a proxy for the target.
fn named(target: &Target, variable: impl Fn(&str) -> Option<String>) -> Option<&'static str> {
    let url = target.url();
    if url.is_loopback() {
        return None;
    }
    let given = |names: [&'static str; 2]| {
        names.into_iter().find_map(|name| Some((name, variable(name).filter(|value| !value.trim().is_empty())?)))
    };
    let own = if url.is_plain() { ["http_proxy", "HTTP_PROXY"] } else { ["https_proxy", "HTTPS_PROXY"] };
    let direct = given(["no_proxy", "NO_PROXY"]).map(|(_, value)| value).unwrap_or_default();
    let uri: Uri = url.as_str().parse().ok()?;
    [own, ["all_proxy", "ALL_PROXY"]].into_iter().filter_map(given).find_map(|(name, proxy)| {
        let matcher = Matcher::builder().all(proxy).no(direct.clone()).build();
        matcher.intercept(&uri).map(|_| name)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proxy_of_the_environment_is_named() {
        type Case<'a> = (&'a str, &'a [(&'a str, &'a str)], Option<&'a str>);
        let cases: &[Case<'_>] = &[
            ("https://a.example/v1", &[("HTTPS_PROXY", "http://p:3128")], Some("HTTPS_PROXY")),
            ("https://a.example/v1", &[("https_proxy", "p:3128")], Some("https_proxy")),
            ("http://a.example", &[("ALL_PROXY", "http://p:3128")], Some("ALL_PROXY")),
            ("http://a.example", &[("HTTPS_PROXY", "http://p:3128")], None),
            ("http://a.example", &[("HTTP_PROXY", " ")], None),
            ("https://a.example", &[("HTTPS_PROXY", "http://p"), ("NO_PROXY", ".example")], None),
            ("https://127.0.0.1", &[("HTTPS_PROXY", "http://p")], None),
        ];
        for (url, env, expected) in cases {
            let target = Target::new(url, "POST", &[], &[]).unwrap();
            let variable =
                |name: &str| env.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned());
            assert_eq!(named(&target, variable), *expected, "{url} {env:?}");
        }
    }
}
