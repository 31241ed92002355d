//! Where rows come from, and what is done about rows that are not in order of time.

use std::time::Duration;

use clap::Args;
use wsp::http_url::HttpUrl;
use wsp::store::{S3Options, StoreOptions};
use wsp_replay::{Error, Flag, Order};

use super::values::duration;

// Buckets, and rows that are not in order of time.
#[derive(Debug, Args)]
#[command(next_help_heading = "Sources")]
pub(crate) struct SourceArgs {
    /// Put rows in order of time that come up to so much later than one with a later time. Default: rows have to be in order.
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    reorder: Option<Duration>,
    /// Sort all rows of each input by time before the first is sent. What does not fit into memory is written to the folder of the
    /// state.
    #[arg(long, conflicts_with = "reorder")]
    sort: bool,
    /// The address of a server that speaks S3, for inputs of S3. Default: AWS. Credentials come from the AWS environment.
    #[arg(long, value_name = "URL")]
    s3_endpoint: Option<String>,
    /// Its region. Default: that of the AWS environment.
    #[arg(long, value_name = "REGION")]
    s3_region: Option<String>,
    /// Name buckets in the path, as most servers besides AWS want it.
    #[arg(long)]
    s3_path_style: bool,
}

impl SourceArgs {
    /// How objects are reached.
    pub(super) fn stores(&self) -> Result<StoreOptions, Error> {
        let endpoint = self.s3_endpoint.as_ref().map(|url| url.parse::<HttpUrl>()).transpose();
        let endpoint = endpoint.map_err(|error| Error::flag("--s3-endpoint", error))?;
        let (region, path_style) = (self.s3_region.clone(), self.s3_path_style);
        Ok(StoreOptions { s3: S3Options { endpoint, region, path_style, ..S3Options::default() } })
    }

    pub(super) fn order(&self) -> Order {
        match self.reorder {
            Some(bound) => Order::Within(bound),
            None if self.sort => Order::Sorted,
            None => Order::AsRead,
        }
    }

    /// What decides which events there are, and where they stand. `named` are the inputs with names.
    pub(super) fn pinned(&self, named: &[String]) -> Vec<Flag> {
        let own = named.iter().filter_map(|text| Some((text.split_once('=')?.0, text.split_once(';')?.1)));
        let own: Vec<String> = own.map(|(name, own)| format!("{name};{own}")).collect();
        vec![
            ("--input", own.join("\n")),
            ("--reorder", self.reorder.map(|bound| format!("{bound:?}")).unwrap_or_default()),
            ("--sort", if self.sort { "true".to_owned() } else { String::new() }),
        ]
    }
}
