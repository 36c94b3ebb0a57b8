//! Who signs what is said of an image: a key that was given, a program that has one, or this machine's own.

use super::{Copies, Outside, PushError};
use crate::gate::{Statement, TestResult};
use crate::model::Sha256;
use crate::model::trust::{Level, TrustSettings};
use crate::trust::{KeyId, Keys, PublicKey, SecretKey, Signer, dsse, signer, trusted};

/// A hand to sign with.
pub(super) enum Hand<'a> {
    /// A key; and whether it was given.
    Key(Box<SecretKey>, bool),
    /// A program, and its public key.
    Program(Signer<'a>, Box<PublicKey>),
}

impl<'a> Hand<'a> {
    /// The one that the configuration names. A program is asked for its public key: one that is not well is known before anything is pushed.
    pub(super) async fn of(outside: &Outside<'a>) -> Result<Self, PushError> {
        if let Some(settings) = &outside.trust.signer {
            let signer = Signer::new(settings, outside.env);
            let public = signer.public().await.map_err(Box::new)?;
            return Ok(Self::Program(signer, Box::new(public)));
        }
        let keys = Keys { settings: outside.trust, passphrase: outside.passphrase.clone(), home: outside.machine };
        let (key, given) = signer(&keys)?;
        Ok(Self::Key(Box::new(key), given))
    }

    /// The name of its key.
    pub(super) fn id(&self) -> KeyId {
        match self {
            Self::Key(key, _) => key.id(),
            Self::Program(_, public) => public.id(),
        }
    }

    /// The envelope around a statement about an image. What a program has signed before is not signed again: it need not sign the same alike twice.
    pub(super) async fn sign(&self, payload: &[u8], (copies, manifest): (&Copies, Sha256)) -> Result<Vec<u8>, PushError> {
        match self {
            Self::Key(key, _) => Ok(dsse::sign(key, payload)),
            Self::Program(signer, public) => {
                let is_it = |envelope: &[u8]| dsse::open(envelope, |_| Some(&**public)).is_ok_and(|opened| opened.payload == payload);
                if let Some(before) = copies.of(manifest)?.into_iter().find(|found| is_it(&found.envelope)) {
                    return Ok(before.envelope);
                }
                let signature = signer.sign(public, &dsse::signed_bytes(payload)).await.map_err(Box::new)?;
                Ok(dsse::envelope(payload, &public.id(), &signature))
            }
        }
    }

    /// What the user should know of a word that no gate takes.
    pub(super) fn notice(&self, said: &Statement<TestResult>, settings: &TrustSettings) -> Result<Option<String>, PushError> {
        let id = self.id().short();
        if let Self::Key(_, false) = self {
            return Ok(Some(format!(
                "signed with this machine's own key {id}, which nobody else believes; `splitci keys new` makes one for others, `SPLITCI_KEY` hands it in"
            )));
        }
        let hint = match self {
            Self::Key(..) => "`splitci keys show` prints its public half",
            Self::Program(..) => "`splitci keys show --signer` prints its public half",
        };
        if trusted(settings)?.get(&self.id()).is_none() {
            return Ok(Some(format!("key {id} is not in `[trust]`: a gate with this list believes nothing that it signs; {hint}")));
        }
        let local = matches!(self, Self::Program(..)) && said.predicate.splitci.level == Level::Local;
        Ok(local.then(|| {
            "the run had no key that others trust, whoever signed for it: a gate asks for the level of the run too; give it one with `SPLITCI_KEY`".to_owned()
        }))
    }
}
