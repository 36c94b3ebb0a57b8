//! Kinds of values that only an environment has: its slots, how many serve, spans that may be nothing.

use std::time::Duration;

use toml::de::DeValue;

use super::fault::Place;
use super::setting::{Raw, Setting, Span, choose, texts};
use crate::model::environment::{MigrationClass, Role, Share, Side, Slot, SlotName};
use crate::model::freeze::Freeze;

/// The engine of a slot that names none: this machine's.
const HERE: &str = "unix:///var/run/docker.sock";

/// Stands for the port of a slot that says none: in a network it is the app's own.
pub(super) const UNSAID: u16 = 0;

/// A list of slots.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Slots(pub Vec<Slot>);

impl Setting for Slots {
    const EXPECTED: &'static str = "a list of slots: `{ name = \"web1\", engine = \"ssh://deploy@a\", port = 18101, publish = \"10.0.0.5\", zone = \"a\", side = \"blue\" }`, all but name and port optional; in a network `{ name = \"web1\", address = \"172.30.0.11\" }`; `{ name = \"jobs1\", role = \"worker\" }`";

    fn parse(raw: Raw<'_>, place: &Place) -> Option<Self> {
        let Raw::Toml(value) = raw else { return None };
        value.as_array()?.iter().map(|entry| slot(entry.get_ref(), place)).collect::<Option<_>>().map(Self)
    }
}

/// What may be said of a slot.
const KEYS: &[&str] = &["name", "engine", "port", "publish", "address", "zone", "side", "role"];

fn slot(value: &DeValue<'_>, place: &Place) -> Option<Slot> {
    let table = value.as_table()?;
    if !table.keys().all(|key| KEYS.contains(&key.get_ref().as_ref())) {
        return None;
    }
    let text = |key: &str| table.get(key).map(|value| String::parse(Raw::Toml(value.get_ref()), place));
    let optional = |key: &str| text(key).map_or(Some(None), |text| text.map(Some));
    Some(Slot {
        name: SlotName(text("name")??),
        engine: optional("engine")?.unwrap_or_else(|| HERE.to_owned()),
        role: optional("role")?.map_or(Some(Role::Web), |role| role_of(&role))?,
        // Which slots have to have one, and which must not, is the environment's affair.
        port: table.get("port").map_or(Some(UNSAID), |port| Port::parse(Raw::Toml(port.get_ref()), place).map(|port| port.0))?,
        zone: optional("zone")?,
        side: optional("side")?.map_or(Some(None), |side| side_of(&side).map(Some))?,
        publish: optional("publish")?.map_or(Some(None), |address| address.parse().ok().map(Some))?,
        address: optional("address")?.map_or(Some(None), |address| address.parse().ok().map(Some))?,
    })
}

fn role_of(word: &str) -> Option<Role> {
    match word {
        "web" => Some(Role::Web),
        "worker" => Some(Role::Worker),
        _ => None,
    }
}

fn side_of(word: &str) -> Option<Side> {
    match word {
        "blue" => Some(Side::Blue),
        "green" => Some(Side::Green),
        _ => None,
    }
}

/// A port of TCP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Port(pub u16);

impl Setting for Port {
    const EXPECTED: &'static str = "a port from 1 to 65535";

    fn parse(raw: Raw<'_>, _: &Place) -> Option<Self> {
        raw.number().filter(|port| *port > 0).map(Self)
    }
}

/// A path of a URL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UrlPath(pub String);

impl Setting for UrlPath {
    const EXPECTED: &'static str = "a path that begins with `/` and has no blanks, such as `/up`";

    fn parse(raw: Raw<'_>, place: &Place) -> Option<Self> {
        let fit = |text: &String| text.starts_with('/') && text.bytes().all(|byte| byte.is_ascii_graphic());
        String::parse(raw, place).filter(fit).map(Self)
    }
}

/// A time span that may be nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pause(pub u64);

impl Setting for Pause {
    const EXPECTED: &'static str = "a duration, such as `0s`, `90s` or `10m`";

    fn parse(raw: Raw<'_>, place: &Place) -> Option<Self> {
        let none = raw.number::<u32>() == Some(0) || raw.text().is_some_and(|text| humantime::parse_duration(text) == Ok(Duration::ZERO));
        if none { Some(Self(0)) } else { Span::parse(raw, place).map(|span| Self(span.millis())) }
    }
}

/// When nobody deploys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Freezes(pub Vec<Freeze>);

impl Setting for Freezes {
    const EXPECTED: &'static str =
        "a list of windows with their time zones, such as `Mon-Fri 10:30-13:00 America/Chicago` or `2026-12-24..2026-12-26 Europe/Berlin`";

    fn parse(raw: Raw<'_>, _: &Place) -> Option<Self> {
        texts(raw)?.iter().map(|text| Freeze::parse(text)).collect::<Option<_>>().map(Self)
    }
}

/// How many of the slots.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ShareChoice(pub Share);

impl Setting for ShareChoice {
    const EXPECTED: &'static str = "a number of slots, or a part of them such as `50%`";

    fn parse(raw: Raw<'_>, _: &Place) -> Option<Self> {
        let part = raw.text().and_then(|text| text.trim().strip_suffix('%'));
        let share = match part {
            Some(part) => part.trim().parse().ok().filter(|part| *part <= 100).map(Share::Percent),
            None => raw.number().map(Share::Count),
        };
        share.map(Self)
    }
}

/// A part of all requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Permille(pub u64);

impl Setting for Permille {
    const EXPECTED: &'static str = "a part of a hundred with one decimal at most, such as `0.5%`";

    fn parse(raw: Raw<'_>, _: &Place) -> Option<Self> {
        let text = raw.text()?.trim().strip_suffix('%')?.trim();
        let (whole, tenth) = text.split_once('.').unwrap_or((text, "0"));
        let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        if !digits(whole) || !digits(tenth) || tenth.len() != 1 {
            return None;
        }
        let permille = whole.parse::<u64>().ok()?.checked_mul(10)?.checked_add(tenth.parse().ok()?)?;
        (permille <= 1_000).then_some(Self(permille))
    }
}

/// A strategy, by its name alone: how many go at a time stands beside it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum StrategyName {
    /// `half`.
    #[default]
    Half,
    /// `all-at-once`.
    AllAtOnce,
    /// `bluegreen`.
    BlueGreen,
    /// `rolling`.
    Rolling,
    /// `canary`.
    Canary,
}

impl Setting for StrategyName {
    const EXPECTED: &'static str = "`half`, `all-at-once`, `bluegreen`, `rolling` or `canary`";
    const CHOICES: &'static [&'static str] = &["half", "all-at-once", "bluegreen", "rolling", "canary"];

    fn parse(raw: Raw<'_>, _: &Place) -> Option<Self> {
        choose(raw, Self::CHOICES, &[Self::Half, Self::AllAtOnce, Self::BlueGreen, Self::Rolling, Self::Canary])
    }
}

impl Setting for MigrationClass {
    const EXPECTED: &'static str = "`compatible` or `breaking`";
    const CHOICES: &'static [&'static str] = &["compatible", "breaking"];

    fn parse(raw: Raw<'_>, _: &Place) -> Option<Self> {
        choose(raw, Self::CHOICES, &[Self::Compatible, Self::Breaking])
    }
}
