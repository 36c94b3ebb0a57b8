//! Tables: what is found, what is started, what is never cut.

use super::*;
use crate::framework::Place;

fn facts(files: &[&str], texts: &[(&str, &str)], place: Place) -> ProjectFacts {
    let texts = texts.iter().map(|(file, text)| (file.to_string(), text.to_string())).collect();
    ProjectFacts { files: files.iter().map(ToString::to_string).collect(), texts, place }
}

fn words(line: &str) -> Vec<String> {
    line.split(' ').map(str::to_owned).collect()
}

#[test]
fn a_project_is_recognised_by_its_specs() {
    let evidence = |files: &[&str]| Rspec.evidence(&facts(files, &[], Place::Image));
    assert_eq!(evidence(&[".rspec", "spec/a_spec.rb"]).as_deref(), Some("`.rspec`"));
    assert_eq!(evidence(&["lib/a.rb", "spec/models/a_spec.rb"]).as_deref(), Some("`spec/models/a_spec.rb`"));
    assert_eq!(evidence(&["spec/spec_helper.rb", "vendor/gem/spec/a_spec.rb", "openapi_spec.rb"]), None);
}

#[test]
fn rspec_is_called_as_the_project_would() {
    let lock = [("Gemfile.lock", "GEM\n  specs:\n    rspec-core (3.12.0)\n")];
    let command = |files: &[&str], texts: &[(&str, &str)], place| Rspec.command(&facts(files, texts, place));
    assert_eq!(command(&["bin/rspec", "Gemfile"], &lock, Place::Image), ["bin/rspec"]);
    assert_eq!(command(&["Gemfile", "Gemfile.lock"], &lock, Place::Image), ["bundle", "exec", "rspec"]);
    for gemfile in ["gem 'rspec'", "  gem \"rspec-rails\", group: :test", "gem('rspec', '~> 3')"] {
        assert_eq!(command(&["Gemfile"], &[("Gemfile", gemfile)], Place::Image), ["bundle", "exec", "rspec"], "{gemfile}");
    }
    assert_eq!(command(&["Gemfile"], &[("Gemfile", "gem 'rspectacles'\n# gem 'rspec'")], Place::Image), ["rspec"]);
    let here = Place::Here { programs: ["rspec".to_owned()].into(), activated: false };
    assert_eq!(command(&["Gemfile", "Gemfile.lock"], &lock, here), ["rspec"], "there is no Bundler here");
}

#[test]
fn options_that_choose_examples_are_known() {
    for line in
        ["rspec -e total", "rspec --tag slow", "rspec --tag=~slow", "bundle exec rspec spec/a_spec.rb:12", "rspec spec/a_spec.rb[1:2]"]
    {
        assert!(Rspec.picks_tests(&words(line)), "{line}");
    }
    for line in ["rspec", "rspec spec/models", "rspec --order rand --seed 3", "rspec -fd"] {
        assert!(!Rspec.picks_tests(&words(line)), "{line}");
    }
}

#[test]
fn a_top_level_group_stays_in_one_piece() {
    let group = Rspec.group().expect("files can be cut");
    assert_eq!(group("spec/a_spec.rb::Cart::total is a sum"), "spec/a_spec.rb::Cart");
    assert_eq!(group("spec/a_spec.rb::Shop::Cart::total"), "spec/a_spec.rb::Shop", "more together than need be");
    assert_eq!(group("spec/a_spec.rb"), "spec/a_spec.rb", "a file that could not be loaded");
}

#[test]
fn the_drivers_and_this_side_agree() {
    let version = splitci_worker::protocol::VERSION;
    // An older minor says less, and is understood.
    let speaks = |minor| ruby::WIRE.contains(&format!("MAJOR = {}\n  MINOR = {minor}\n", version.major));
    assert!((0..=version.minor).any(speaks));
    assert!(ruby::WIRE.contains(&format!("DUMP_SIGNAL = {}\n", ruby::DUMP_SIGNAL)));
}
