//! The servers that a DSN means, tried one after another, each within its share of the time.
//!
//! ```text
//! host 1 ─► its addresses ─► connect · TLS · login · session ─┐ no, or its share is over
//! host 2 ◄────────────────────────────────────────────────────┘ ─► … ─► the first that lets us in
//! ```
//!
//! The client library bounds the TCP handshake alone: a host that accepts and then says nothing would take the time of all
//! others.

use std::hash::{BuildHasher, RandomState};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use tokio_postgres::Config;
use tokio_postgres::config::{Host, LoadBalanceHosts, TargetSessionAttrs};

use crate::checkpoint::leased::Fault;
use crate::clock::Clock;

/// One of a DSN's hosts.
#[derive(Debug, Clone)]
struct Target {
    host: Option<Host>,
    address: Option<IpAddr>,
    port: u16,
}

/// All of them, with what they share.
#[derive(Debug, Clone)]
pub(super) struct Targets {
    hosts: Vec<Target>,
    shared: Config,
    shuffled: bool,
    /// For one address, where the DSN says so.
    connect_timeout: Option<Duration>,
}

impl Targets {
    /// Those of `config`, which names at least one host.
    pub(super) fn new(config: &Config) -> Self {
        let (hosts, addresses, ports) = (config.get_hosts(), config.get_hostaddrs(), config.get_ports());
        let hosts: Vec<Target> = (0..hosts.len().max(addresses.len()))
            .map(|i| Target {
                host: hosts.get(i).cloned(),
                address: addresses.get(i).copied(),
                port: ports.get(i).or(ports.first()).copied().unwrap_or(5432),
            })
            .collect();
        let mut shared = without_hosts(config);
        if hosts.len() > 1 && config.get_target_session_attrs() == TargetSessionAttrs::Any {
            // Checkpoints are written. Of several hosts, the one that takes writes is meant.
            shared.target_session_attrs(TargetSessionAttrs::ReadWrite);
        }
        let connect_timeout = config.get_connect_timeout().copied();
        Self { hosts, shared, shuffled: config.get_load_balance_hosts() == LoadBalanceHosts::Random, connect_timeout }
    }

    /// Tries `open` on one after another: `timeout` is shared among them, unless the DSN gives each a time of its own.
    pub(super) async fn try_each<T, C, F>(
        &self,
        clock: &C,
        timeout: Duration,
        mut open: impl FnMut(Config) -> F + Send,
    ) -> Result<T, Fault>
    where
        C: Clock,
        F: Future<Output = Result<T, Fault>> + Send,
    {
        let hosts: Vec<(usize, &Target)> = in_turn(self.hosts.iter().enumerate().collect(), self.shuffled);
        let end = clock.now() + timeout;
        let mut faults = Vec::new();
        for (tried, (i, host)) in hosts.iter().enumerate() {
            let share = |left: Duration, parts: usize| left / u32::try_from(parts.max(1)).unwrap_or(u32::MAX);
            let host_end = clock.now() + share(end.saturating_sub(clock.now()), hosts.len() - tried);
            let place = if hosts.len() > 1 { format!("host {} of {}: ", i + 1, hosts.len()) } else { String::new() };
            let told = |fault: Fault| fault.at(&place);
            let time = self.connect_timeout.unwrap_or_else(|| host_end.saturating_sub(clock.now()));
            let addresses = match within(clock, time, host.addresses(self.shuffled)).await {
                Ok(addresses) => addresses,
                Err(fault) => {
                    faults.push(told(fault));
                    continue;
                }
            };
            for (n, address) in addresses.iter().enumerate() {
                let left = host_end.saturating_sub(clock.now());
                let time = self.connect_timeout.unwrap_or_else(|| share(left, addresses.len() - n));
                match within(clock, time, open(host.config(&self.shared, *address))).await {
                    Ok(opened) => return Ok(opened),
                    Err(fault) => faults.push(told(fault)),
                }
            }
        }
        Err(all_of(&faults))
    }
}

impl Target {
    /// The addresses of its name; one that needs no look-up stands for itself.
    async fn addresses(&self, shuffled: bool) -> Result<Vec<Option<IpAddr>>, Fault> {
        let (None, Some(Host::Tcp(name))) = (self.address, &self.host) else { return Ok(vec![self.address]) };
        let found = tokio::net::lookup_host((name.as_str(), self.port)).await;
        let found = found.map_err(|error| Fault::Away(format!("its name can't be looked up: {error}")))?;
        let addresses = in_turn(found.map(|address: SocketAddr| Some(address.ip())).collect(), shuffled);
        if addresses.is_empty() { Err(Fault::Away("its name has no address".to_owned())) } else { Ok(addresses) }
    }

    /// What opens a connection to it at `address`.
    fn config(&self, shared: &Config, address: Option<IpAddr>) -> Config {
        let mut config = shared.clone();
        match &self.host {
            Some(Host::Tcp(name)) => drop(config.host(name)),
            Some(Host::Unix(path)) => drop(config.host_path(path)),
            None => {}
        }
        if let Some(address) = address {
            config.hostaddr(address);
        }
        config.port(self.port);
        config
    }
}

/// The settings of `config` but for where it connects to.
fn without_hosts(config: &Config) -> Config {
    let mut shared = Config::new();
    if let Some(user) = config.get_user() {
        shared.user(user);
    }
    if let Some(password) = config.get_password() {
        shared.password(password);
    }
    if let Some(name) = config.get_dbname() {
        shared.dbname(name);
    }
    if let Some(options) = config.get_options() {
        shared.options(options);
    }
    if let Some(name) = config.get_application_name() {
        shared.application_name(name);
    }
    if let Some(timeout) = config.get_tcp_user_timeout() {
        shared.tcp_user_timeout(*timeout);
    }
    shared.keepalives(config.get_keepalives()).keepalives_idle(config.get_keepalives_idle());
    if let Some(interval) = config.get_keepalives_interval() {
        shared.keepalives_interval(interval);
    }
    if let Some(retries) = config.get_keepalives_retries() {
        shared.keepalives_retries(retries);
    }
    shared
        .ssl_mode(config.get_ssl_mode())
        .ssl_negotiation(config.get_ssl_negotiation())
        .target_session_attrs(config.get_target_session_attrs())
        .channel_binding(config.get_channel_binding());
    shared
}

/// Hosts, or the addresses of one, in the order in which they are tried: their own, or by chance. Keys of the standard library's hasher
/// are chance, which no two runs share.
fn in_turn<T>(mut items: Vec<T>, by_chance: bool) -> Vec<T> {
    if by_chance {
        let (chance, mut nth) = (RandomState::new(), 0_usize);
        items.sort_by_cached_key(|_| {
            nth += 1;
            chance.hash_one(nth)
        });
    }
    items
}

/// `work`, or a fault when `time` is over before it is done.
pub(super) async fn within<T, C: Clock>(
    clock: &C,
    time: Duration,
    work: impl Future<Output = Result<T, Fault>>,
) -> Result<T, Fault> {
    tokio::select! {
        biased;
        done = work => done,
        () = clock.sleep_until(clock.now() + time) => Err(Fault::Away(format!("no answer within {:.1} s", time.as_secs_f64()))),
    }
}

/// One fault for all: time mends it if it mends any of them.
fn all_of(faults: &[Fault]) -> Fault {
    let away = faults.iter().any(|fault| matches!(fault, Fault::Away(_)));
    let text = faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
    if away { Fault::Away(text) } else { Fault::Refused(text) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::SystemClock;

    fn targets(dsn: &str) -> Targets {
        Targets::new(&dsn.parse().unwrap())
    }

    /// Where a connection would go, and with how much time on the clock.
    fn place(config: &Config) -> String {
        format!("{:?} {:?} {:?}", config.get_hosts(), config.get_hostaddrs(), config.get_ports())
    }

    #[tokio::test(start_paused = true)]
    async fn each_host_has_its_share_and_silence_of_one_leaves_the_others_theirs() {
        let clock = SystemClock::new();
        let targets = targets("host=127.0.0.1,127.0.0.2,127.0.0.3 port=1,2,3 user=u");
        let mut tried = Vec::new();
        let opened = targets
            .try_each(&clock, Duration::from_secs(6), |config| {
                tried.push((clock.now().as_secs(), config.get_ports()[0]));
                async move {
                    if config.get_ports() != [3] {
                        std::future::pending::<()>().await;
                    }
                    Ok(config.get_ports()[0])
                }
            })
            .await;
        assert_eq!(opened, Ok(3));
        assert_eq!(tried, [(0, 1), (2, 2), (4, 3)]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_host_that_fails_at_once_leaves_its_time_to_the_others() {
        let clock = SystemClock::new();
        let targets = targets("host=127.0.0.1,127.0.0.2 port=1,2 user=u");
        let result = targets
            .try_each(&clock, Duration::from_secs(6), async move |config: Config| {
                if config.get_ports() == [1] {
                    return Err(Fault::Refused("no such role".to_owned()));
                }
                std::future::pending::<Result<(), Fault>>().await
            })
            .await;
        let all = "host 1 of 2: no such role; host 2 of 2: no answer within 6.0 s";
        assert_eq!(result, Err(Fault::Away(all.to_owned())), "time may mend the second");
        assert_eq!(clock.now().as_secs(), 6);
    }

    #[tokio::test(start_paused = true)]
    async fn a_time_that_the_dsn_gives_is_each_ones_own() {
        let clock = SystemClock::new();
        let targets = targets("host=127.0.0.1,127.0.0.2 connect_timeout=9 user=u");
        let never = |_: Config| std::future::pending::<Result<(), Fault>>();
        let fault = targets.try_each(&clock, Duration::from_secs(6), never).await.unwrap_err();
        assert_eq!(clock.now().as_secs(), 18, "{fault}");
        assert!(fault.to_string().contains("host 2 of 2: no answer within 9.0 s"), "{fault}");
    }

    #[tokio::test]
    async fn a_name_stands_for_all_its_addresses_and_stays_the_name_that_tls_checks() {
        let targets = targets("host=localhost,/run/db hostaddr=127.0.0.9,127.0.0.8 port=7 user=u");
        let mut places = Vec::new();
        let note = |config: Config| {
            places.push(place(&config));
            std::future::ready(Err::<(), _>(Fault::Away("x".to_owned())))
        };
        targets.try_each(&SystemClock::new(), Duration::from_secs(6), note).await.unwrap_err();
        assert_eq!(places, [r#"[Tcp("localhost")] [127.0.0.9] [7]"#, r#"[Unix("/run/db")] [127.0.0.8] [7]"#]);

        let targets = self::targets("host=localhost port=7 user=u");
        let mut places = Vec::new();
        let note = |config: Config| {
            places.push(place(&config));
            std::future::ready(Err::<(), _>(Fault::Away("x".to_owned())))
        };
        targets.try_each(&SystemClock::new(), Duration::from_secs(6), note).await.unwrap_err();
        assert!(places.contains(&r#"[Tcp("localhost")] [127.0.0.1] [7]"#.to_owned()), "{places:?}");
    }

    #[tokio::test]
    async fn hosts_are_tried_in_their_order_unless_the_load_is_to_be_spread() {
        let firsts = async |more: &str| {
            let targets = targets(&format!("host=127.0.0.1,127.0.0.2 port=1,2 user=u {more}"));
            let mut firsts = std::collections::BTreeSet::new();
            for _ in 0..64 {
                let open = async |config: Config| Ok::<_, Fault>(config.get_ports()[0]);
                firsts.insert(targets.try_each(&SystemClock::new(), Duration::from_secs(6), open).await.unwrap());
            }
            firsts.into_iter().collect::<Vec<_>>()
        };
        assert_eq!(firsts("").await, [1]);
        assert_eq!(firsts("load_balance_hosts=random").await, [1, 2]);
    }

    #[test]
    fn addresses_of_a_name_are_tried_as_they_were_found_unless_the_load_is_to_be_spread() {
        let found: Vec<Option<IpAddr>> = (0..100).map(|n| Some(IpAddr::from([127, 0, 0, n]))).collect();
        assert_eq!(in_turn(found.clone(), false), found);
        let mut spread = in_turn(found.clone(), true);
        assert_ne!(spread, found);
        spread.sort_unstable();
        assert_eq!(spread, found);
    }

    #[test]
    fn nothing_of_the_dsn_is_lost_but_the_hosts() {
        let dsn = "host=a,b port=1,2 user=u password=p dbname=d options='-c x=1' application_name=n sslmode=require \
                   sslnegotiation=direct tcp_user_timeout=3 keepalives=0 keepalives_idle=7 keepalives_interval=8 \
                   keepalives_retries=9 target_session_attrs=read-only channel_binding=require";
        let config: Config = dsn.parse().unwrap();
        let mut again = without_hosts(&config);
        again.host("a").host("b").port(1).port(2);
        assert!(again == config, "{again:?} {config:?}");
    }

    #[test]
    fn of_several_hosts_the_one_that_takes_writes_is_meant() {
        let attrs = |dsn: &str| targets(dsn).shared.get_target_session_attrs();
        assert_eq!(attrs("host=a,b user=u"), TargetSessionAttrs::ReadWrite);
        assert_eq!(attrs("host=a user=u"), TargetSessionAttrs::Any);
    }
}
