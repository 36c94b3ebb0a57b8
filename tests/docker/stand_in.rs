//! Stands in for the worker in tests of the engine: a static program that obeys lines on its standard input and needs nothing of the image.
//! Compiled by the tests themselves. An engine does not care what travels on the stream, so plain lines do.

use std::io::{BufRead, Read, Write};

fn main() {
    println!("hello {}", std::process::id());
    let mut memory = Vec::new();
    for line in std::io::stdin().lock().lines() {
        let line = line.expect("a line");
        let (order, rest) = line.split_once(' ').unwrap_or((&line, ""));
        match order {
            "echo" => println!("{rest}"),
            "complain" => eprintln!("{rest}"),
            "flood" => flood(rest.parse().expect("bytes")),
            "exit" => std::process::exit(rest.parse().expect("a status")),
            "eat" => memory.push(vec![7_u8; rest.parse().expect("bytes")]),
            "read" => println!("{}", std::fs::read_to_string(rest).unwrap_or_else(|error| error.to_string()).replace('\n', "|")),
            "write" => println!("{}", std::fs::write(rest, "x").map_or_else(|error| error.to_string(), |()| "written".into())),
            "run" => run(rest),
            "env" => println!("{}", std::env::var(rest).unwrap_or_default()),
            "cwd" => println!("{}", std::env::current_dir().expect("a directory").display()),
            "hang" => loop {
                std::thread::park();
            },
            _ => println!("what is {order}?"),
        }
    }
}

fn flood(bytes: u64) {
    let mut out = std::io::stdout().lock();
    std::io::copy(&mut std::io::repeat(b'f').take(bytes), &mut out).expect("written");
    writeln!(out).expect("written");
}

fn run(command: &str) {
    let words: Vec<_> = command.split(' ').collect();
    let output = std::process::Command::new(words[0]).args(&words[1..]).output();
    println!("{}", output.map_or_else(|error| error.to_string(), |done| String::from_utf8_lossy(&done.stdout).replace('\n', "|")));
}
