//! An imagined suite: files of tests with natures, some cut into slices, some whose ids change, and how a load of one looks.

use splitci_coordinator::model::SuiteId;
use splitci_coordinator::queue::{Listing, QueueUnit, Role};

use super::dice::Dice;

/// What a test (or the loading of a file) does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Nature {
    /// It ends.
    Fine,
    /// It takes its process with it, always.
    Poison,
    /// It takes its process with it, the first time.
    Fragile,
    /// It never ends: the worker's deadline ends its process.
    Hangs,
    /// It takes the whole host with it, always: nobody is left to say what ran.
    TakesHost,
}

/// What the ids of a file do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ids {
    /// They stay.
    Stable,
    /// They are others after this many loads.
    ChangeOnce(u32),
    /// They are others at each load.
    ChangeAlways,
}

/// A file.
#[derive(Debug, Clone)]
pub struct File {
    /// Its loading.
    pub loading: Nature,
    /// Its tests.
    pub tests: Vec<Nature>,
    /// Its ids.
    pub ids: Ids,
    loads: u32,
}

/// What a unit of the manifest is of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// All of it.
    Whole,
    /// The tests whose ordinal leaves `number` when divided by `of`.
    Slice {
        /// Which.
        number: u32,
        /// Of how many.
        of: u32,
    },
    /// All of it, if the slices disagree.
    Fallback,
    /// Another attempt at the tests whose ordinal leaves `number` when divided by `of`.
    Again {
        /// Which.
        number: u32,
        /// Of how many.
        of: u32,
    },
}

/// The suite, or several of them.
#[derive(Debug, Clone)]
pub struct Suite {
    /// How many they are; its files take turns.
    pub suites: u32,
    /// Its files.
    pub files: Vec<File>,
    /// Its units: which file, which part.
    pub units: Vec<(usize, Part)>,
}

/// What a load of a file showed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Load {
    /// Of which of the file's lists of ids.
    pub version: u32,
    /// How many tests that has.
    pub count: u32,
}

impl Suite {
    /// A suite.
    pub fn imagine(dice: &mut Dice) -> Self {
        let harm = dice.of(&[0, 30, 120, 300]).unwrap_or(0);
        let drift = dice.of(&[0, 0, 250]).unwrap_or(0);
        let files: Vec<File> = (0..=dice.below(8)).map(|_| File::imagine(dice, harm, drift)).collect();
        let (mut units, mut fallbacks) = (Vec::new(), Vec::new());
        for (place, file) in files.iter().enumerate() {
            if file.tests.len() > 3 && dice.chance(250) {
                let of = 2 + dice.below(2);
                units.extend((0..of).map(|number| (place, Part::Slice { number, of })));
                fallbacks.push((place, Part::Fallback));
            } else {
                units.push((place, Part::Whole));
            }
        }
        units.extend(fallbacks);
        Self { suites: dice.of(&[1, 1, 2]).unwrap_or(1), files, units }
    }

    /// Its units as the queue takes them.
    pub fn queue_units(&self, dice: &mut Dice) -> Vec<QueueUnit> {
        let role = |&(file, part): &(usize, Part)| {
            let group = u32::try_from(file).unwrap_or(u32::MAX);
            match part {
                // Another attempt is added later, by another way.
                Part::Whole | Part::Again { .. } => Role::Plain,
                Part::Slice { .. } => Role::Slice(group),
                Part::Fallback => Role::Fallback(group),
            }
        };
        let predicted = |dice: &mut Dice| if dice.chance(300) { None } else { Some(u64::from(dice.below(900))) };
        let all = self.units.iter().enumerate();
        all.map(|(at, unit)| QueueUnit { suite: self.suite_of(at), predicted_ms: predicted(dice), role: role(unit) }).collect()
    }

    /// Which suite a unit is of.
    pub fn suite_of(&self, unit: usize) -> SuiteId {
        SuiteId(u32::try_from(self.units[unit].0).unwrap_or(0) % self.suites)
    }

    /// Adds another attempt at some tests of a unit's file.
    pub fn try_again(&mut self, unit: usize, dice: &mut Dice) {
        let of = 1 + dice.below(3);
        self.units.push((self.units[unit].0, Part::Again { number: dice.below(of), of }));
    }

    /// Loads a unit's file once more.
    pub fn load(&mut self, unit: usize) -> Load {
        self.files[self.units[unit].0].load()
    }

    /// The ordinals that a unit has of a load, in order.
    pub fn selected(&self, unit: usize, load: Load) -> Vec<u32> {
        match self.units[unit].1 {
            Part::Whole | Part::Fallback => (0..load.count).collect(),
            Part::Slice { number, of } | Part::Again { number, of } => (0..load.count).filter(|ordinal| ordinal % of == number).collect(),
        }
    }

    /// What a load's ids are in short.
    pub fn listing(&self, unit: usize, load: Load) -> Listing {
        let mut hash = [0; 16];
        hash[..8].copy_from_slice(&(self.units[unit].0 as u64).to_le_bytes());
        hash[8..12].copy_from_slice(&load.version.to_le_bytes());
        Listing { hash, count: load.count }
    }

    /// What happens when this test runs now; a fragile one is fine from then on.
    pub fn run(&mut self, unit: usize, ordinal: u32) -> Nature {
        let place = usize::try_from(ordinal).unwrap_or(usize::MAX);
        self.files[self.units[unit].0].tests.get_mut(place).map_or(Nature::Fine, Nature::happen)
    }

    /// What happens when this unit's file is loaded now.
    pub fn run_loading(&mut self, unit: usize) -> Nature {
        self.files[self.units[unit].0].loading.happen()
    }
}

impl File {
    fn imagine(dice: &mut Dice, harm: u32, drift: u32) -> Self {
        let nature = |dice: &mut Dice, harm| {
            let harmful = [Nature::Poison, Nature::Poison, Nature::Fragile, Nature::Fragile, Nature::Hangs, Nature::TakesHost];
            if dice.chance(harm) { dice.of(&harmful).unwrap_or(Nature::Fine) } else { Nature::Fine }
        };
        let tests = (0..dice.below(10)).map(|_| nature(dice, harm)).collect();
        let ids = match dice.chance(drift) {
            false => Ids::Stable,
            true if dice.chance(500) => Ids::ChangeAlways,
            true => Ids::ChangeOnce(1 + dice.below(3)),
        };
        Self { loading: nature(dice, harm / 4), tests, ids, loads: 0 }
    }

    fn load(&mut self) -> Load {
        self.loads += 1;
        let version = match self.ids {
            Ids::Stable => 0,
            Ids::ChangeOnce(after) => u32::from(self.loads > after),
            Ids::ChangeAlways => self.loads,
        };
        let count = u32::try_from(self.tests.len()).unwrap_or(u32::MAX);
        Load { version, count: count + version % 2 }
    }
}

impl Nature {
    fn happen(&mut self) -> Self {
        let now = *self;
        if now == Self::Fragile {
            *self = Self::Fine;
        }
        now
    }
}
