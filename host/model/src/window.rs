//! Times of the week in which actions may run.

use std::{fmt, str::FromStr};

use jiff::{
    Timestamp as Moment,
    civil::{Time, Weekday},
    tz::TimeZone,
};

use super::Timestamp;

/// A stretch of time on some days of the week, such as `Sat,Sun 22:00-04:00 Europe/Berlin`. One that ends before it begins
/// ends on the next day.
#[derive(Debug, Clone, PartialEq)]
pub struct MaintenanceWindow {
    text: String,
    days: Vec<Weekday>,
    from: Time,
    to: Time,
    zone: TimeZone,
}

const DAYS: [(&str, Weekday); 7] = [
    ("mon", Weekday::Monday),
    ("tue", Weekday::Tuesday),
    ("wed", Weekday::Wednesday),
    ("thu", Weekday::Thursday),
    ("fri", Weekday::Friday),
    ("sat", Weekday::Saturday),
    ("sun", Weekday::Sunday),
];

impl MaintenanceWindow {
    /// Whether the moment lies in it.
    pub fn contains(&self, at: Timestamp) -> bool {
        let Ok(moment) = Moment::from_millisecond(at.0) else {
            return false;
        };
        let local = moment.to_zoned(self.zone.clone());
        let (day, time) = (local.weekday(), local.time());
        if self.from <= self.to {
            return self.days.contains(&day) && self.from <= time && time < self.to;
        }
        let began_yesterday = self.days.contains(&day.previous()) && time < self.to;
        began_yesterday || (self.days.contains(&day) && self.from <= time)
    }
}

impl FromStr for MaintenanceWindow {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parts: Vec<_> = text.split_whitespace().collect();
        let starts_with_days = parts.first().is_some_and(|part| !part.contains(':'));
        let (days, rest) = match parts.split_first() {
            Some((first, rest)) if starts_with_days => (days(first)?, rest),
            _ => (DAYS.map(|(_, day)| day).to_vec(), parts.as_slice()),
        };
        let (hours, zone) = match rest {
            [hours] => (hours, TimeZone::UTC),
            [hours, zone] => {
                let found = TimeZone::get(zone);
                (
                    hours,
                    found.map_err(|_| format!("there is no time zone {zone:?}"))?,
                )
            }
            _ => return Err("it is not days, hours and a time zone".to_owned()),
        };
        let (from, to) = hours
            .split_once('-')
            .filter(|(from, to)| from != to)
            .ok_or_else(|| format!("{hours:?} is not like 02:00-04:00"))?;
        Ok(Self {
            text: parts.join(" "),
            days,
            from: time(from)?,
            to: time(to)?,
            zone,
        })
    }
}

impl fmt::Display for MaintenanceWindow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// `24:00` is the end of the day.
fn time(text: &str) -> Result<Time, String> {
    let wrong = || format!("{text:?} is not a time like 02:30");
    let (hour, minute) = text.split_once(':').ok_or_else(wrong)?;
    let number = |text: &str| text.parse::<i8>().map_err(|_| wrong());
    match (number(hour)?, number(minute)?) {
        (24, 0) => Ok(Time::MAX),
        (hour, minute) => Time::new(hour, minute, 0, 0).map_err(|_| wrong()),
    }
}

/// `Mon-Fri`, `Sat,Sun`, or both at once.
fn days(text: &str) -> Result<Vec<Weekday>, String> {
    let mut found = Vec::new();
    for part in text.split(',') {
        match part.split_once('-') {
            None => found.push(day(part)?),
            Some((first, last)) => {
                let (mut next, last) = (day(first)?, day(last)?);
                found.push(next);
                while next != last {
                    next = next.next();
                    found.push(next);
                }
            }
        }
    }
    Ok(found)
}

fn day(text: &str) -> Result<Weekday, String> {
    let lower = text.to_lowercase();
    DAYS.into_iter()
        .find(|(name, _)| *name == lower)
        .map(|(_, day)| day)
        .ok_or_else(|| format!("{text:?} is not a day like Mon"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        Timestamp(text.parse::<Moment>().unwrap().as_millisecond())
    }

    #[test]
    fn a_window_has_days_hours_and_a_zone() {
        let window: MaintenanceWindow = "Mon-Wed,Fri 09:00-17:00 Europe/Berlin".parse().unwrap();
        // 2026-11-23 is a Monday; Berlin is an hour ahead of UTC in winter.
        for (moment, inside) in [
            ("2026-11-23T08:00:00Z", true),
            ("2026-11-23T07:59:59Z", false),
            ("2026-11-23T16:00:00Z", false),
            ("2026-11-26T12:00:00Z", false),
            ("2026-11-27T12:00:00Z", true),
        ] {
            assert_eq!(window.contains(at(moment)), inside, "{moment}");
        }
    }

    #[test]
    fn a_window_can_last_past_midnight() {
        let window: MaintenanceWindow = "Sat 22:00-04:00".parse().unwrap();
        for (moment, inside) in [
            ("2026-11-28T23:00:00Z", true),
            ("2026-11-29T03:59:00Z", true),
            ("2026-11-29T04:00:00Z", false),
            ("2026-11-29T23:00:00Z", false),
            ("2026-11-28T03:00:00Z", false),
        ] {
            assert_eq!(window.contains(at(moment)), inside, "{moment}");
        }
        let all: MaintenanceWindow = "00:00-24:00".parse().unwrap();
        assert!(all.contains(at("2026-11-28T23:59:59Z")));
    }

    #[test]
    fn an_invalid_window_is_an_error() {
        for wrong in [
            "",
            "Mon",
            "Caturday 01:00-02:00",
            "25:00-26:00",
            "Mon 01:00-02:00 Nowhere/City",
            "1-2",
            "10:00-10:00",
        ] {
            assert!(wrong.parse::<MaintenanceWindow>().is_err(), "{wrong}");
        }
    }
}
