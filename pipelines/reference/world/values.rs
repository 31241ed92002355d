//! The values of rows, edge cases among them.

use wsp::random::Random;

/// A time zone and how far its clocks are ahead of UTC, in minutes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Zone {
    pub(super) name: &'static str,
    pub(super) minutes: i64,
}

pub(super) const UTC: Zone = Zone { name: "UTC", minutes: 0 };

const ZONES: [Zone; 7] = [
    Zone { name: "Europe/London", minutes: 0 },
    Zone { name: "Europe/Berlin", minutes: 60 },
    Zone { name: "Asia/Tokyo", minutes: 540 },
    Zone { name: "America/New_York", minutes: -300 },
    Zone { name: "Africa/Lagos", minutes: 60 },
    Zone { name: "Asia/Kolkata", minutes: 330 },
    Zone { name: "Europe/Zurich", minutes: 60 },
];

/// What a flow's first, second, … event is.
pub(super) const KINDS: [&str; 4] = ["AUTH_REQUEST", "AUTH_RESPONSE", "CLEARING", "REFUND"];

const TEXTS: [&str; 18] = [
    "",
    " lead trail ",
    "Europe/Zürich",
    "ÿÿ",
    "é combining e\u{301}",
    "emoji-😀-𝒳",
    "quote\"back\\slash/",
    "ctl\u{1}\u{1f}\u{7f}",
    "nul\0mid",
    "tab\tnl\ncr\r",
    "ls\u{2028}ps\u{2029}",
    "<script>&amp;'",
    "{\"json\":[1]}",
    "null",
    "NaN",
    "1e5",
    "日本語",
    "مرحبا",
];

const CAMPAIGNS: [&str; 6] = [
    "30dec68671804f18112ea9fd697619748b06ec3e204ab5893e20f8c6843a242f",
    "3172625259c6659994a48df289d8ef9243536f217c5e52dad4c46469a4054ad3",
    "ed4ce9f3df903c6d6f3f400c08a67e721254c25c815ebe0f77d54527bb36c571",
    "0c7a1e0e8c2fbc3a4f0f9a5b7b1d1f65f4c8e27ad9b1d0b7f37c2f1e6f1a9c02",
    "9f1b2c3d4e5f60718293a4b5c6d7e8f90a1b2c3d4e5f60718293a4b5c6d7e8f9",
    "card-testing-wave-2",
];

const FLOATS: [f64; 24] = [
    0.1,
    0.2 + 0.1,
    1e-07,
    1e-05,
    0.0001,
    1e16,
    1e15,
    123_456_789_012_345_680.0,
    -0.0,
    0.0,
    5e-324,
    f64::MIN_POSITIVE,
    f64::MAX,
    f64::MIN,
    100.0,
    1.0,
    -1.5,
    9_007_199_254_740_993.0,
    4.35,
    2.675,
    1e22,
    1e23,
    0.3,
    2.225_073_858_507_201e-308,
];

/// The zone a merchant has, by its index.
pub(super) fn home(merchant: u64) -> Zone {
    ZONES[(merchant % ZONES.len() as u64) as usize]
}

/// An awkward text.
pub(super) fn text(random: &mut Random) -> &'static str {
    TEXTS[random.below(TEXTS.len() as u64) as usize]
}

/// The `n`-th awkward text and double, while there are some.
pub(super) fn sample(n: u64) -> (Option<&'static str>, Option<f64>) {
    let n = usize::try_from(n).unwrap_or(usize::MAX);
    (TEXTS.get(n).copied(), FLOATS.get(n).copied())
}

/// An awkward double.
pub(super) fn float(random: &mut Random) -> f64 {
    FLOATS[random.below(FLOATS.len() as u64) as usize]
}

/// A campaign's id; some are awkward.
pub(super) fn campaign(random: &mut Random) -> &'static str {
    if random.chance(1, 8) { text(random) } else { CAMPAIGNS[random.below(CAMPAIGNS.len() as u64) as usize] }
}

/// An amount in hundredths: mostly small, rarely large.
pub(super) fn price(random: &mut Random) -> f64 {
    let digits = 3 + random.below(4) as u32;
    (random.below(10_u64.pow(digits)) + 1) as f64 / 100.0
}
