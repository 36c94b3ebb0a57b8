//! Programs of the user's own that a deployment asks or tells: which, where, and for how long they are waited for. Part of no environment's digest: who goes on
//! with a deployment on another machine may have others.

use super::SecretText;

/// The hooks of an environment. None, unless something is said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HookSettings {
    /// Asked before anything is changed: its words. Empty: nobody is asked.
    pub before_deploy: Vec<String>,
    /// Asked before the new release is let in: its words. Empty: nobody is asked.
    pub before_switch: Vec<String>,
    /// Told of the beginning and of the end.
    pub status: Option<StatusTarget>,
    /// For so long a program is waited for.
    pub timeout_ms: u64,
}

impl Default for HookSettings {
    fn default() -> Self {
        Self { before_deploy: Vec::new(), before_switch: Vec::new(), status: None, timeout_ms: 30_000 }
    }
}

/// Who is told how a deployment goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StatusTarget {
    /// A chat's address, which is as good as a password.
    Address(SecretText),
    /// The variable that has such an address.
    Variable(String),
    /// A program: its words.
    Program(Vec<String>),
}
