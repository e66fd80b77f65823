//! The words of a rule as options, by the rules of popt(3) that ipvsadm goes by.

use std::collections::BTreeMap;

/// What follows an option.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Takes {
    Nothing,
    Value,
    /// A value, unless an option follows.
    MaybeValue,
}

/// Every option of a rule: long name, short one where it has one, and what follows.
const OPTIONS: &[(&str, Option<char>, Takes)] = &[
    ("add-service", Some('A'), Takes::Nothing),
    ("edit-service", Some('E'), Takes::Nothing),
    ("delete-service", Some('D'), Takes::Nothing),
    ("clear", Some('C'), Takes::Nothing),
    ("add-server", Some('a'), Takes::Nothing),
    ("edit-server", Some('e'), Takes::Nothing),
    ("delete-server", Some('d'), Takes::Nothing),
    ("tcp-service", Some('t'), Takes::Value),
    ("udp-service", Some('u'), Takes::Value),
    ("sctp-service", None, Takes::Value),
    ("fwmark-service", Some('f'), Takes::Value),
    ("ipv6", Some('6'), Takes::Nothing),
    ("scheduler", Some('s'), Takes::Value),
    ("sched-flags", Some('b'), Takes::Value),
    ("persistent", Some('p'), Takes::MaybeValue),
    ("netmask", Some('M'), Takes::Value),
    ("pe", None, Takes::Value),
    ("ops", Some('o'), Takes::Nothing),
    ("real-server", Some('r'), Takes::Value),
    ("gatewaying", Some('g'), Takes::Nothing),
    ("ipip", Some('i'), Takes::Nothing),
    ("masquerading", Some('m'), Takes::Nothing),
    ("weight", Some('w'), Takes::Value),
    ("u-threshold", Some('x'), Takes::Value),
    ("l-threshold", Some('y'), Takes::Value),
    ("tun-type", None, Takes::Value),
    ("tun-port", None, Takes::Value),
    ("tun-nocsum", None, Takes::Nothing),
    ("tun-csum", None, Takes::Nothing),
    ("tun-remcsum", None, Takes::Nothing),
];

/// What ipvsadm does beside rules, each with where its like is in Fulcrum.
const ELSEWHERE: &[(&str, &str)] = &[
    ("--set", "set tcp_timeout, tcp_fin_timeout and udp_timeout under ipvs of each Director"),
    ("--start-daemon", "set connection_sync of the VrrpInstance"),
    ("--stop-daemon", "leave connection_sync of the VrrpInstance out"),
];

/// The options of one rule, by their long names.
pub(super) struct Options<'a>(BTreeMap<&'static str, Option<&'a str>>);

impl<'a> Options<'a> {
    /// Reads the words of a rule.
    ///
    /// # Errors
    /// In words, what is no option, given twice or without its value.
    pub(super) fn read(words: &[&'a str]) -> Result<Self, String> {
        let mut options = Self(BTreeMap::new());
        let mut words = words.iter().copied().peekable();
        while let Some(word) = words.next() {
            if let Some((_, remedy)) = ELSEWHERE.iter().find(|(name, _)| is_named(word, name)) {
                return Err(format!("{word} is no rule of the table: {remedy}"));
            }
            if let Some(long) = word.strip_prefix("--") {
                let (name, value) = match long.split_once('=') {
                    Some((name, value)) => (name, Some(value)),
                    None => (long, None),
                };
                let found = OPTIONS.iter().find(|(long, _, _)| *long == name);
                let (name, _, takes) = found.ok_or_else(|| unknown(word))?;
                options.add(name, *takes, value, &mut words)?;
            } else if let Some(letters) = word.strip_prefix('-').filter(|rest| !rest.is_empty()) {
                options.add_letters(word, letters, &mut words)?;
            } else {
                return Err(format!("{word:?} belongs to no option: leave it out"));
            }
        }
        Ok(options)
    }

    /// `-A`, `-At VALUE`, `-w5`: short options behind one dash.
    fn add_letters<I: Iterator<Item = &'a str>>(
        &mut self,
        word: &str,
        letters: &'a str,
        words: &mut std::iter::Peekable<I>,
    ) -> Result<(), String> {
        let mut rest = letters.chars();
        while let Some(letter) = rest.next() {
            let found = OPTIONS.iter().find(|(_, short, _)| *short == Some(letter));
            let (name, _, takes) = found.ok_or_else(|| unknown(word))?;
            if *takes == Takes::Nothing {
                self.add(name, *takes, None, words)?;
                continue;
            }
            let value = rest.as_str();
            let value = value.strip_prefix('=').unwrap_or(value);
            return self.add(name, *takes, Some(value).filter(|value| !value.is_empty()), words);
        }
        Ok(())
    }

    fn add<I: Iterator<Item = &'a str>>(
        &mut self,
        name: &'static str,
        takes: Takes,
        value: Option<&'a str>,
        words: &mut std::iter::Peekable<I>,
    ) -> Result<(), String> {
        let value = match (takes, value) {
            (Takes::Nothing, Some(value)) => {
                return Err(format!("--{name} takes no value, not {value:?}: leave it out"));
            }
            (Takes::Nothing, None) => None,
            (Takes::Value | Takes::MaybeValue, Some(value)) => Some(value),
            (Takes::Value, None) => {
                Some(words.next().ok_or_else(|| format!("--{name} needs a value behind it"))?)
            }
            (Takes::MaybeValue, None) => words.next_if(|next| !next.starts_with('-')),
        };
        match self.0.insert(name, value) {
            None => Ok(()),
            Some(_) => Err(format!("--{name} is given twice: leave one out")),
        }
    }

    /// Takes an option without a value out; whether it was given.
    pub(super) fn take(&mut self, name: &'static str) -> bool {
        self.0.remove(name).is_some()
    }

    /// Takes an option out: its value, if it was given with one.
    pub(super) fn take_value(&mut self, name: &'static str) -> Option<&'a str> {
        self.0.remove(name).flatten()
    }

    /// Takes the one of several options out that was given.
    ///
    /// # Errors
    /// In words, when there are two.
    pub(super) fn take_one_of(
        &mut self,
        names: &[&'static str],
    ) -> Result<Option<(&'static str, Option<&'a str>)>, String> {
        let mut given = None;
        for name in names {
            if let Some(value) = self.0.remove(name) {
                if let Some((before, _)) = given {
                    return Err(format!(
                        "--{before} and --{name} exclude each other: leave one out"
                    ));
                }
                given = Some((*name, value));
            }
        }
        Ok(given)
    }

    /// # Errors
    /// In words, when an option was given that has no place in this rule.
    pub(super) fn nothing_left(&self, command: &str) -> Result<(), String> {
        match self.0.keys().next() {
            None => Ok(()),
            Some(name) => Err(format!("--{name} has no place with --{command}: leave it out")),
        }
    }
}

fn is_named(word: &str, name: &str) -> bool {
    word.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with('='))
}

fn unknown(word: &str) -> String {
    format!("{word:?} is no option of a rule (ipvsadm(8), COMMANDS and PARAMETERS): leave it out")
}
