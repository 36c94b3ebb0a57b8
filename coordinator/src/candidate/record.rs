//! A record, read for what a statement says of its run: who saw it, what it was of, and which image it was about.

use super::error::PushError;
use crate::gate::{Facts, Identity, StoreKind, TestResult, Unattestable, Witness, statement::Statement};
use crate::history::History;
use crate::model::event::EventKind;
use crate::model::settings::EngineKind;
use crate::model::{ImageIdentity, Provenance, RunId, Sha256};
use crate::registry::{Digest, Name};

/// A run, as its record has it.
pub(super) struct Record {
    pub(super) run: RunId,
    witness: Witness,
    engine: Option<EngineKind>,
    provenance: Option<Provenance>,
    image: Option<(ImageIdentity, String)>,
}

impl Record {
    pub(super) fn read(history: &History, run: &RunId) -> Result<Self, PushError> {
        let mut record = Self { run: run.clone(), witness: Witness::default(), engine: None, provenance: None, image: None };
        for event in history.read(run)? {
            let event = event?;
            record.witness.apply(&event);
            match event.kind {
                EventKind::RunStarted(started) => {
                    record.engine = Some(started.settings.engine);
                    record.provenance = started.provenance;
                }
                EventKind::ImageReady { identity, reference, .. } => record.image = Some((identity, reference)),
                _ => {}
            }
        }
        Ok(record)
    }

    fn refused(&self, cause: Unattestable) -> PushError {
        PushError::Unattestable { run: self.run.clone(), cause }
    }

    /// What the run was of.
    fn provenance(&self) -> Result<&Provenance, PushError> {
        match (&self.provenance, self.engine) {
            (Some(provenance), _) => Ok(provenance),
            (None, None) => Err(self.refused(Unattestable::NotBegun)),
            (None, Some(EngineKind::Process)) => Err(self.refused(Unattestable::ProcessEngine)),
            (None, Some(EngineKind::Docker)) => Err(PushError::Older { run: self.run.clone() }),
        }
    }

    /// What the engine called the image, and what kind of store it has.
    pub(super) fn image(&self) -> Result<(Sha256, StoreKind), PushError> {
        let store = if self.provenance()?.containerd { StoreKind::Containerd } else { StoreKind::Docker };
        let id = self.image.as_ref().and_then(|(identity, _)| Sha256::parse(&identity.config));
        id.map(|id| (id, store)).ok_or_else(|| self.refused(Unattestable::NoImage))
    }

    /// The repository and the digest that the image was named by, if it was: then it is in a registry already.
    pub(super) fn named(&self) -> Option<(Name, Digest)> {
        let (name, digest) = self.image.as_ref()?.1.split_once('@')?;
        // A tag before the digest says nothing.
        let last = name.rfind('/').map_or(0, |at| at + 1);
        let name = name.get(last..)?.find(':').map_or(name, |colon| &name[..last + colon]);
        Some((name.parse().ok()?, digest.parse().ok()?))
    }

    /// The statement about this image. What is asked before anything is pushed is asked with what the engine calls it alone.
    pub(super) fn attest(&self, identity: Identity, repository: &Name, allow_dirty: bool) -> Result<Statement<TestResult>, PushError> {
        let provenance = self.provenance()?.clone();
        let facts = Facts {
            identity,
            repository: repository.to_string(),
            commit: provenance.commit,
            dirty: provenance.dirty,
            allow_dirty,
            level: provenance.level,
            image_level: provenance.image_level,
            reused_level: provenance.reused_level,
            configuration: provenance.configuration,
            filters: provenance.filters,
            junit: None,
        };
        self.witness.attest(&facts).map_err(|cause| self.refused(cause))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::model::Outcome::Passed;
    use crate::model::event::{Close, ImageSource};
    use crate::model::story::{Story, file, record};
    use crate::model::trust::Level;
    use crate::model::verdict::Verdict;
    use crate::trust::sha256;

    fn provenance() -> Provenance {
        let (configuration, filters) = (BTreeMap::new(), Vec::new());
        let level = Level::Protected;
        Provenance { commit: None, dirty: false, configuration, filters, containerd: false, level, image_level: None, reused_level: None }
    }

    /// A run in an image of this name, up to its plan.
    fn begun(reference: &str) -> Story {
        let mut story = record();
        let identity = ImageIdentity { platform: "linux/amd64".to_owned(), config: sha256(b"image").to_string(), manifest: None };
        let (how, reference) = (ImageSource::Given, reference.to_owned());
        story.say(EventKind::ImageReady { identity, reference, how, key: None, took_ms: 0, saved_ms: 0, steps: None });
        story.boot(1).plan(&[file("a.py"), file("b.py")]);
        story
    }

    /// A record that was written, read again; with what its run was of, if that is known.
    fn read(story: &Story, known: Option<&Provenance>) -> Record {
        let state = tempfile::tempdir().expect("a folder");
        let history = History::open(state.path()).expect("a history");
        let run = RunId("01JD2".to_owned());
        let writer = history.begin(&run).expect("begun");
        for mut event in story.events() {
            if let EventKind::RunStarted(started) = &mut event.kind {
                started.provenance = known.cloned();
            }
            writer.add(&event);
        }
        writer.finish().expect("written");
        Record::read(&history, &run).expect("read")
    }

    fn asked(record: &Record) -> Result<Statement<TestResult>, PushError> {
        let (id, store) = record.image()?;
        let name = "registry.example/shop".parse().expect("a name");
        record.attest(Identity { manifest: id, config: id, store }, &name, false)
    }

    #[test]
    fn what_a_record_does_not_say_is_not_made_up() {
        let mut green = begun("shop:1");
        green.run(0, 1, &[Passed]).run(1, 1, &[Passed]).close(1, Close::Clean).end(Verdict::Passed);
        let said = asked(&read(&green, Some(&provenance()))).expect("attested");
        assert_eq!((said.predicate.splitci.level, said.subject.len()), (Level::Protected, 1));
        let older = asked(&read(&green, None)).expect_err("of an older splitci");
        assert!(matches!(older, PushError::Older { .. }) && older.exit() == 2, "{older}");
        let filtered = Provenance { filters: vec!["tests/a.py".to_owned()], ..provenance() };
        assert_eq!(asked(&read(&green, Some(&filtered))).expect_err("a part").exit(), 2);
        let dirty = asked(&read(&green, Some(&Provenance { dirty: true, ..provenance() }))).expect_err("of no commit");
        assert!(dirty.exit() == 2 && dirty.hint().is_some_and(|hint| hint.contains("--allow-dirty")), "{dirty}");
    }

    #[test]
    fn a_run_that_did_not_get_to_its_end_shows_nothing() {
        let mut lost = begun("shop:1");
        lost.run(0, 1, &[Passed]).close(1, Close::Lost).end(Verdict::None);
        let mut killed = begun("shop:1");
        killed.run(0, 1, &[Passed]);
        let mut imageless = record();
        imageless.boot(1).plan(&[file("a.py")]).run(0, 1, &[Passed]).close(1, Close::Clean).end(Verdict::Passed);
        for story in [&lost, &killed, &imageless, &Story::default()] {
            let refused = asked(&read(story, Some(&provenance()))).expect_err("nothing to attest");
            assert_eq!(refused.exit(), 3, "{refused}");
        }
    }

    #[test]
    fn an_image_that_is_named_by_digest_is_in_its_registry() {
        let digest = sha256(b"manifest");
        for name in ["registry.example/shop", "127.0.0.1:5000/shop", "registry.example/shop:v1", "127.0.0.1:5000/shop:v1"] {
            let (found, by) = read(&begun(&format!("{name}@{digest}")), None).named().expect("it is");
            assert_eq!((found.to_string(), Sha256::from(by)), (name.trim_end_matches(":v1").to_owned(), digest));
        }
        for name in ["shop:1", "splitci/shop:3f2a9c1b7d04", "shop@sha256:00"] {
            assert!(read(&begun(name), None).named().is_none(), "{name}");
        }
    }
}
