//! One TLS for the whole program. Libraries bring different ones along, and a program that has two and has not chosen panics at its first connection.
//!
//! It is `ring`: what the Docker client brings anyway, and what builds with a C compiler and nothing else.

use rustls::crypto::{CryptoProvider, ring};

/// Chooses, before anything can ask. Again is as good as once.
pub(crate) fn choose() {
    // It fails when a choice was made before, and here is the only place that makes one.
    let _chosen = ring::default_provider().install_default();
    debug_assert!(CryptoProvider::get_default().is_some(), "a choice was made");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_choice_is_made_once_and_stays() {
        choose();
        choose();
        let chosen = CryptoProvider::get_default().expect("a choice");
        assert!(format!("{:?}", chosen.key_provider).contains("Ring"), "{:?}", chosen.key_provider);
    }
}
