//! When nobody deploys: `Mon-Fri 10:30-13:00 America/Chicago`, or `2026-12-24..2026-12-26 Europe/Berlin`.
//!
//! Local time, as people have it on the wall: on the day on which a zone's clocks change a window is an hour longer or shorter, and a time that does not exist is the next one
//! that does. Time zones are those of a table in the program, so that two machines cannot disagree. Pure: the time comes in. Who is exempt is not said here.

use std::fmt;
use std::str::FromStr;

use jiff::civil::{Date, Time};
use jiff::tz::{TimeZone, TimeZoneDatabase};
use jiff::{Timestamp, Zoned};

/// A window in which nobody deploys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Freeze {
    text: String,
    zone: TimeZone,
    when: When,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum When {
    /// On these days of the week, from Monday on; one that ends no later than it begins ends on the day after.
    Weekly { days: [bool; 7], from: Time, to: Time },
    /// From the beginning of a day to the end of another.
    Dates { first: Date, last: Date },
}

/// A window that is open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frozen {
    /// The window, as it was written.
    pub window: String,
    /// Its end, in local time, for people.
    pub until: String,
    /// Its end, in milliseconds since 1970.
    pub until_ms: u64,
}

impl fmt::Display for Frozen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}`, until {}", self.window, self.until)
    }
}

impl Freeze {
    /// Of a text: days of the week, if not every day, and times of the day, or dates; then a time zone by its name.
    pub fn parse(text: &str) -> Option<Self> {
        let words: Vec<&str> = text.split_whitespace().collect();
        let (zone, when) = words.split_last()?;
        let zone = TimeZoneDatabase::bundled().get(zone).ok()?;
        let when = match when {
            [dates] if dates.contains("..") => self::dates(dates)?,
            [times] => weekly([true; 7], times)?,
            [days, times] => weekly(self::days(days)?, times)?,
            _ => return None,
        };
        Some(Self { text: words.join(" "), zone, when })
    }

    /// The window that is open at a time, in milliseconds since 1970.
    pub fn at(&self, now_ms: u64) -> Option<Frozen> {
        let now = Timestamp::from_millisecond(i64::try_from(now_ms).ok()?).ok()?;
        let today = now.to_zoned(self.zone.clone()).date();
        // One that began yesterday may go on; of two the one that ends last counts.
        let windows = [today.yesterday().ok(), Some(today)].into_iter().flatten().filter_map(|day| self.of_day(day));
        let open = windows.filter(|(from, to)| from.timestamp() <= now && now < to.timestamp());
        let (_, to) = open.max_by_key(|(_, to)| to.timestamp())?;
        Some(Frozen {
            window: self.text.clone(),
            until: format!("{} {}", to.strftime("%a %Y-%m-%d %H:%M"), to.strftime("%Z")),
            until_ms: u64::try_from(to.timestamp().as_millisecond()).ok()?,
        })
    }

    /// The window that begins on a day.
    fn of_day(&self, day: Date) -> Option<(Zoned, Zoned)> {
        let zoned = |date: Date, time: Time| date.to_datetime(time).to_zoned(self.zone.clone()).ok();
        match &self.when {
            When::Weekly { days, from, to } => {
                let on = *days.get(usize::try_from(day.weekday().to_monday_zero_offset()).ok()?)?;
                let last = if to <= from { day.tomorrow().ok()? } else { day };
                on.then_some(())?;
                Some((zoned(day, *from)?, zoned(last, *to)?))
            }
            When::Dates { first, last } => {
                let end = last.tomorrow().ok()?;
                (*first <= day && day <= *last).then_some(())?;
                Some((zoned(*first, Time::midnight())?, zoned(end, Time::midnight())?))
            }
        }
    }
}

fn dates(text: &str) -> Option<When> {
    let (first, last) = text.split_once("..")?;
    let (first, last) = (Date::from_str(first).ok()?, Date::from_str(last).ok()?);
    (first <= last).then_some(When::Dates { first, last })
}

fn weekly(days: [bool; 7], times: &str) -> Option<When> {
    let (from, to) = times.split_once('-')?;
    // The midnight that ends a day.
    let (from, to) = (time(from)?, if to == "24:00" { Time::midnight() } else { time(to).filter(|to| time(from) != Some(*to))? });
    Some(When::Weekly { days, from, to })
}

/// Hours and minutes.
fn time(text: &str) -> Option<Time> {
    let (hour, minute) = text.split_once(':')?;
    let digits = |text: &str| text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_digit());
    (digits(hour) && digits(minute)).then_some(())?;
    Time::new(hour.parse().ok()?, minute.parse().ok()?, 0, 0).ok()
}

/// `Mon-Fri`, `Sat,Sun`, `Fri-Mon,Wed`.
fn days(text: &str) -> Option<[bool; 7]> {
    let mut days = [false; 7];
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last) = (weekday(first)?, weekday(last)?);
        let mut day = first;
        loop {
            *days.get_mut(day)? = true;
            if day == last {
                break;
            }
            day = (day + 1) % 7;
        }
    }
    Some(days)
}

fn weekday(text: &str) -> Option<usize> {
    ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"].iter().position(|name| *name == text)
}

/// The first of several windows that is open.
pub fn frozen(windows: &[Freeze], now_ms: u64) -> Option<Frozen> {
    windows.iter().filter_map(|window| window.at(now_ms)).max_by_key(|frozen| frozen.until_ms)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(window: &str, now: &str) -> Option<String> {
        let now: Timestamp = now.parse().expect("a time");
        let window = Freeze::parse(window).expect("a window");
        window.at(u64::try_from(now.as_millisecond()).expect("after 1970")).map(|frozen| frozen.until)
    }

    /// I20: a window begins and ends to the second.
    #[test]
    fn a_window_is_open_from_its_first_minute_until_before_its_last_by_the_clock_on_the_wall() {
        let lunch = "Mon-Fri 10:30-13:00 America/Chicago";
        // A Friday in winter: six hours behind.
        assert_eq!(at(lunch, "2026-11-27T16:29:59Z"), None);
        assert_eq!(at(lunch, "2026-11-27T16:30:00Z").as_deref(), Some("Fri 2026-11-27 13:00 CST"));
        assert_eq!(at(lunch, "2026-11-27T19:00:00Z"), None);
        // In summer it is an hour earlier; on Saturday there is none.
        assert_eq!(at(lunch, "2026-06-26T15:30:00Z").as_deref(), Some("Fri 2026-06-26 13:00 CDT"));
        assert_eq!(at(lunch, "2026-11-28T17:00:00Z"), None);
    }

    #[test]
    fn a_window_over_midnight_is_of_the_day_that_it_begins_on() {
        let night = "Fri 22:00-06:00 UTC";
        assert_eq!(at(night, "2026-11-28T05:59:59Z").as_deref(), Some("Sat 2026-11-28 06:00 UTC"));
        assert_eq!([at(night, "2026-11-27T05:00:00Z"), at(night, "2026-11-28T06:00:00Z")], [None, None]);
        assert!(at("Sat,Sun 00:00-24:00 UTC", "2026-11-29T23:59:59Z").is_some());
        assert!(at("Sat-Mon 00:00-24:00 UTC", "2026-11-30T12:00:00Z").is_some());
        assert!(at("10:30-13:00 UTC", "2026-11-29T11:00:00Z").is_some());
    }

    #[test]
    fn dates_are_whole_days_where_they_are() {
        let feast = "2026-12-24..2026-12-26 Europe/Berlin";
        assert_eq!(at(feast, "2026-12-23T22:59:59Z"), None);
        assert_eq!(at(feast, "2026-12-23T23:00:00Z").as_deref(), Some("Sun 2026-12-27 00:00 CET"));
        assert!(at(feast, "2026-12-26T22:59:59Z").is_some());
        assert_eq!(at(feast, "2026-12-26T23:00:00Z"), None);
    }

    #[test]
    fn the_day_on_which_clocks_change_has_no_hole() {
        // Clocks go from 2:00 to 3:00: half past two is half past three then.
        assert!(at("Sun 02:30-04:00 Europe/Berlin", "2026-03-29T01:45:00Z").is_some());
    }

    #[test]
    fn what_is_no_window_is_refused() {
        let good = ["Mon 10:00-11:00 UTC", "Sat,Sun 00:00-24:00 Europe/Berlin", "Fri-Mon 22:00-06:00 America/Chicago"];
        assert!(good.iter().all(|text| Freeze::parse(text).is_some()));
        let bad = [
            "",
            "UTC",
            "Mon 10:00-11:00",
            "Mon 10:00-11:00 Mars/Base",
            "Mo 10:00-11:00 UTC",
            "Mon 10:00-10:00 UTC",
            "Mon 10-11 UTC",
            "Mon 25:00-26:00 UTC",
            "2026-12-26..2026-12-24 UTC",
            "2026-13-01..2026-13-02 UTC",
            "Mon Tue 10:00-11:00 UTC",
        ];
        assert!(bad.iter().all(|text| Freeze::parse(text).is_none()));
    }

    #[test]
    fn of_windows_that_are_open_the_one_that_ends_last_counts() {
        let windows: Vec<_> = ["10:00-12:00 UTC", "11:00-13:00 UTC"].iter().filter_map(|text| Freeze::parse(text)).collect();
        let now: Timestamp = "2026-11-27T11:30:00Z".parse().expect("a time");
        let found = frozen(&windows, u64::try_from(now.as_millisecond()).expect("after 1970")).expect("open");
        assert_eq!(found.window, "11:00-13:00 UTC");
    }
}
