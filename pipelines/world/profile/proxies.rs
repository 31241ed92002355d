//! Proxies: WSP connects directly. Where the environment names a proxy for an address of the profile, the profile is
//! refused, since whoever set it does not expect a direct connection.
//!
//! The variables mean what they mean to curl: `HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY`, and `NO_PROXY` for the names,
//! addresses and networks that are reached without one; each in capitals or small letters.

use hyper::Uri;
use hyper_util::client::proxy::matcher::Matcher;

use super::reader::Reader;
use super::settings::{ALL_PROXY, HTTP_PROXY, HTTPS_PROXY, NO_PROXY, Setting};
use crate::model::HttpUrl;

/// Notes a problem where a proxy is set for the address of `setting`.
pub(super) fn refuse(r: &mut Reader<'_>, setting: &Setting, url: &HttpUrl) {
    let own = if url.is_plain() { &HTTP_PROXY } else { &HTTPS_PROXY };
    let direct = r.given(&NO_PROXY).unwrap_or_default();
    for variable in [own, &ALL_PROXY] {
        if r.given(variable).is_some_and(|proxy| !url.is_loopback() && means(&proxy, direct.clone(), url)) {
            let (name, variable, host) = (setting.name(), variable.name(), url.host());
            r.problem(format!(
                "{name}: {variable} names a proxy for {host}, and WSP uses none; add {host} to NO_PROXY, or unset it"
            ));
        }
    }
}

/// Whether curl would use the proxy for this address.
fn means(proxy: &str, direct: String, url: &HttpUrl) -> bool {
    let matcher = Matcher::builder().all(proxy.to_owned()).no(direct).build();
    url.as_str().parse::<Uri>().is_ok_and(|uri| matcher.intercept(&uri).is_some())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::settings::IG_INGEST_URL;

    fn problems(url: &str, env: &[(&str, &str)]) -> Vec<String> {
        let env = |name: &str| env.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned());
        let mut r = Reader::new("profile_id: local", &env).unwrap();
        refuse(&mut r, &IG_INGEST_URL, &url.parse().unwrap());
        r.finish().err().map(|error| error.problems).unwrap_or_default()
    }

    #[test]
    fn a_proxy_for_the_address_is_refused_by_its_name() {
        type Case<'a> = (&'a str, &'a [(&'a str, &'a str)], Option<&'a str>);
        let cases: &[Case<'_>] = &[
            ("https://ig.example/v1", &[("HTTPS_PROXY", "http://proxy:3128")], Some("HTTPS_PROXY")),
            ("https://ig.example/v1", &[("https_proxy", "proxy:3128")], Some("HTTPS_PROXY")),
            ("https://ig.example/v1", &[("ALL_PROXY", "http://proxy:3128")], Some("ALL_PROXY")),
            ("http://ig.example", &[("HTTP_PROXY", "http://proxy:3128")], Some("HTTP_PROXY")),
            ("http://ig.example", &[("HTTPS_PROXY", "http://proxy:3128")], None),
            ("https://ig.example", &[("HTTPS_PROXY", " ")], None),
            ("https://ig.example", &[("HTTPS_PROXY", "http://proxy"), ("NO_PROXY", "s3.example, .example")], None),
            ("https://ig.example", &[("HTTPS_PROXY", "http://proxy"), ("no_proxy", "*")], None),
            ("https://10.1.2.3", &[("HTTPS_PROXY", "http://proxy"), ("NO_PROXY", "10.0.0.0/8")], None),
            ("https://10.1.2.3", &[("HTTPS_PROXY", "http://proxy"), ("NO_PROXY", "ig.example")], Some("HTTPS_PROXY")),
            ("https://127.0.0.1", &[("HTTPS_PROXY", "http://proxy")], None),
            ("http://localhost:8080", &[("ALL_PROXY", "http://proxy")], None),
        ];
        for (url, env, refused) in cases {
            let found = problems(url, env);
            assert_eq!(found.len(), usize::from(refused.is_some()), "{url} {env:?}: {found:?}");
            if let Some(refused) = refused {
                assert!(found[0].contains(&format!("{refused} names a proxy for")), "{found:?}");
            }
        }
    }

    #[test]
    fn what_the_proxy_is_may_hold_a_password_and_is_not_repeated() {
        let found = problems("https://ig.example", &[("HTTPS_PROXY", "http://user:hunter2@proxy:3128")]);
        assert!(!found[0].contains("hunter2"), "{found:?}");
    }
}
