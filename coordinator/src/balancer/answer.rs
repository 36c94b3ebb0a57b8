//! A balancer's answers, read strictly: columns by the names in their first line, which differ between versions, and states by their numbers. What is not
//! understood is refused, never guessed: a wrong reading takes down whoever still works.

use std::collections::BTreeMap;

use super::change::{Name, Place};
use super::server::{Admin, Check, CheckResult, CheckState, Load, Observation, Operation, Process, Server, Thresholds};

/// The only version of `show servers state` that there is.
const STATE_VERSION: &str = "1";
/// Rows of servers, of those that `show stat` has.
pub(super) const SERVERS: &str = "4";
/// What `show stat` calls a row of a server.
const SERVER_ROW: u32 = 2;

/// Why an answer is not understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AnswerError {
    /// It ends too early, or goes on.
    #[error("it holds {found} answers to {commands} commands")]
    Blocks {
        /// How many there are.
        found: usize,
        /// How many commands there were.
        commands: usize,
    },
    /// A table that is none.
    #[error("`{table}` begins with `{line}`")]
    Header {
        /// Which table.
        table: &'static str,
        /// What is there instead.
        line: String,
    },
    /// A column that is needed.
    #[error("`{table}` has no column `{column}`")]
    Column {
        /// Which table.
        table: &'static str,
        /// Which column.
        column: &'static str,
    },
    /// A row that does not fit its header.
    #[error("`{table}` has a row that is too short or not closed: `{row}`")]
    Row {
        /// Which table.
        table: &'static str,
        /// Which row.
        row: String,
    },
    /// A value that says nothing to us.
    #[error("`{table}` has a `{column}` that is not known: `{value}`")]
    Value {
        /// Which table.
        table: &'static str,
        /// Of which column.
        column: &'static str,
        /// Which value.
        value: String,
    },
    /// Tables that speak of different servers.
    #[error("`{place}` is not exactly once in `{table}`")]
    Servers {
        /// Which table.
        table: &'static str,
        /// Which server.
        place: String,
    },
}

/// The answers to a line of commands: each ends with an empty line, and nothing comes after the last.
pub(super) fn blocks(text: &str, commands: usize) -> Result<Vec<&str>, AnswerError> {
    let mut found = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let (block, after) = match rest.strip_prefix('\n') {
            Some(after) => ("", after),
            None => match rest.find("\n\n").and_then(|end| Some((rest.get(..=end)?, rest.get(end + 2..)?))) {
                Some(parts) => parts,
                None => return Err(AnswerError::Blocks { found: found.len(), commands }),
            },
        };
        found.push(block);
        rest = after;
    }
    if found.len() == commands { Ok(found) } else { Err(AnswerError::Blocks { found: found.len(), commands }) }
}

/// Whether this is what was asked for, and no complaint.
pub(super) fn is_table(block: &str) -> bool {
    let first = block.lines().next().unwrap_or_default();
    first == STATE_VERSION || first.starts_with("# ") || first.starts_with("Name: ")
}

/// Whether this is the state of servers.
pub(super) fn is_state(block: &str) -> Result<(), AnswerError> {
    state_table(block).map(|_| ())
}

/// The four tables of an observation.
pub(super) fn observation(blocks: &[&str]) -> Result<Observation, AnswerError> {
    let &[state, conn, stat, info] = blocks else {
        return Err(AnswerError::Blocks { found: blocks.len(), commands: 4 });
    };
    let mut connections = connections(&conn_table(conn)?)?;
    let mut statistics = statistics(&stat_table(stat)?)?;
    let table = state_table(state)?;
    let mut servers: Vec<Server> = Vec::new();
    for row in &table.rows {
        let place = place(row, "be_name", "srv_name")?;
        let in_use = connections.remove(&place).ok_or_else(|| stranger(CONN, &place))?;
        let more = statistics.remove(&place).ok_or_else(|| stranger(STAT, &place))?;
        servers.push(server(row, place, in_use, more)?);
    }
    let left = connections.keys().chain(statistics.keys()).next();
    left.map_or(Ok(()), |place| Err(stranger(STATE, place)))?;
    Ok(Observation { process: process(info)?, servers })
}

fn stranger(table: &'static str, place: &Place) -> AnswerError {
    AnswerError::Servers { table, place: place.to_string() }
}

const STATE: &str = "show servers state";
const CONN: &str = "show servers conn";
const STAT: &str = "show stat";
const INFO: &str = "show info";

/// A table, every row by the names of its columns.
struct Table {
    rows: Vec<Row>,
}

struct Row {
    table: &'static str,
    values: BTreeMap<String, String>,
}

impl Row {
    fn text(&self, column: &'static str) -> Result<&str, AnswerError> {
        self.values.get(column).map(String::as_str).ok_or(AnswerError::Column { table: self.table, column })
    }

    fn number<T: std::str::FromStr>(&self, column: &'static str) -> Result<T, AnswerError> {
        let text = self.text(column)?;
        text.parse().map_err(|_| self.unknown(column, text))
    }

    /// A number, or nothing.
    fn maybe<T: std::str::FromStr>(&self, column: &'static str) -> Result<Option<T>, AnswerError> {
        if self.text(column)?.is_empty() { Ok(None) } else { self.number(column).map(Some) }
    }

    fn unknown(&self, column: &'static str, value: &str) -> AnswerError {
        AnswerError::Value { table: self.table, column, value: value.to_owned() }
    }
}

fn state_table(block: &str) -> Result<Table, AnswerError> {
    let after = block.strip_prefix(STATE_VERSION).and_then(|rest| rest.strip_prefix('\n'));
    table(STATE, after.ok_or_else(|| header(STATE, block))?, words)
}

fn conn_table(block: &str) -> Result<Table, AnswerError> {
    table(CONN, block, words)
}

fn stat_table(block: &str) -> Result<Table, AnswerError> {
    table(STAT, block, fields)
}

fn header(table: &'static str, block: &str) -> AnswerError {
    AnswerError::Header { table, line: block.lines().next().unwrap_or_default().to_owned() }
}

/// How a line is taken apart; none for one that does not end as it should.
type Split = fn(&str) -> Option<Vec<String>>;

fn table(name: &'static str, block: &str, split: Split) -> Result<Table, AnswerError> {
    let mut lines = block.lines();
    let names = lines.next().and_then(|line| line.strip_prefix("# ")).and_then(split).ok_or_else(|| header(name, block))?;
    let row = |line: &str| -> Result<Row, AnswerError> {
        let values = split(line).filter(|values| values.len() >= names.len());
        let values = values.ok_or_else(|| AnswerError::Row { table: name, row: line.to_owned() })?;
        Ok(Row { table: name, values: names.iter().cloned().zip(values).collect() })
    };
    Ok(Table { rows: lines.map(row).collect::<Result<_, _>>()? })
}

// A signature like that of the other split.
#[expect(clippy::unnecessary_wraps, reason = "one of two ways to take a line apart")]
fn words(line: &str) -> Option<Vec<String>> {
    Some(line.split_ascii_whitespace().map(str::to_owned).collect())
}

/// Fields with commas between them, some in quotes, in which a quote is doubled.
fn fields(line: &str) -> Option<Vec<String>> {
    let mut fields = vec![String::new()];
    let mut quoted = false;
    let mut characters = line.chars().peekable();
    while let Some(c) = characters.next() {
        let field = fields.last_mut()?;
        match c {
            '"' if quoted && characters.peek() == Some(&'"') => {
                characters.next();
                field.push('"');
            }
            '"' => quoted = !quoted,
            ',' if !quoted => fields.push(String::new()),
            c => field.push(c),
        }
    }
    (!quoted).then_some(fields)
}

fn place(row: &Row, backend: &'static str, server: &'static str) -> Result<Place, AnswerError> {
    let name = |column| {
        let text = row.text(column)?;
        text.parse::<Name>().map_err(|_| row.unknown(column, text))
    };
    Ok(Place { backend: name(backend)?, server: name(server)? })
}

/// Connections in use, by server.
fn connections(table: &Table) -> Result<BTreeMap<Place, u32>, AnswerError> {
    let mut found = BTreeMap::new();
    for row in &table.rows {
        let both = row.text("bkname/svname")?;
        let place =
            both.split_once('/').and_then(|(backend, server)| Some(Place { backend: backend.parse().ok()?, server: server.parse().ok()? }));
        let place = place.ok_or_else(|| row.unknown("bkname/svname", both))?;
        if found.insert(place.clone(), row.number("used_cur")?).is_some() {
            return Err(stranger(CONN, &place));
        }
    }
    Ok(found)
}

/// What only the statistics know.
struct Statistics {
    load: Load,
    thresholds: Option<Thresholds>,
    backup: bool,
    sticky: bool,
    says: String,
}

fn statistics(table: &Table) -> Result<BTreeMap<Place, Statistics>, AnswerError> {
    let mut found = BTreeMap::new();
    for row in &table.rows {
        if row.number::<u32>("type")? != SERVER_ROW {
            return Err(row.unknown("type", row.text("type")?));
        }
        let place = place(row, "pxname", "svname")?;
        let thresholds = match (row.maybe("check_rise")?, row.maybe("check_fall")?) {
            (Some(rise), Some(fall)) => Some(Thresholds { rise, fall }),
            _ => None,
        };
        // Its own words may say that a check is under way; whoever reads them knows that it is checked again and again.
        let says = [row.text("check_status")?.trim_start_matches("* "), row.text("last_chk")?].join(" ").trim().to_owned();
        let (backup, sticky) = (row.number::<u32>("bck")? != 0, !row.text("cookie")?.is_empty());
        let one = Statistics { load: load(row)?, thresholds, backup, sticky, says };
        if found.insert(place.clone(), one).is_some() {
            return Err(stranger(STAT, &place));
        }
    }
    Ok(found)
}

fn load(row: &Row) -> Result<Load, AnswerError> {
    Ok(Load {
        in_flight: row.number("scur")?,
        queued: row.number("qcur")?,
        connections: 0,
        rate: row.number("rate")?,
        total: row.number("stot")?,
        // A backend that speaks no HTTP has none.
        server_errors: row.maybe("hrsp_5xx")?.unwrap_or_default(),
        connect_errors: row.number("econ")?,
        response_errors: row.number("eresp")?,
    })
}

fn server(row: &Row, place: Place, connections: u32, more: Statistics) -> Result<Server, AnswerError> {
    let Statistics { load, thresholds, backup, sticky, says } = more;
    let admin: u32 = row.number("srv_admin_state")?;
    Ok(Server {
        place,
        address: row.text("srv_addr")?.to_owned(),
        port: row.number("srv_port")?,
        admin: Admin::of(admin).ok_or_else(|| row.unknown("srv_admin_state", &admin.to_string()))?,
        operation: operation(row)?,
        check: Check {
            state: CheckState(row.number("srv_check_state")?),
            result: check_result(row)?,
            health: row.number("srv_check_health")?,
            thresholds,
            says,
        },
        weight: row.number("srv_uweight")?,
        backup,
        sticky,
        load: Load { connections, ..load },
    })
}

fn operation(row: &Row) -> Result<Operation, AnswerError> {
    let known = [Operation::Stopped, Operation::Starting, Operation::Running, Operation::Stopping];
    one_of(row, "srv_op_state", &known)
}

fn check_result(row: &Row) -> Result<CheckResult, AnswerError> {
    let known = [CheckResult::Unknown, CheckResult::Neutral, CheckResult::Failed, CheckResult::Passed, CheckResult::Conditional];
    one_of(row, "srv_check_result", &known)
}

fn one_of<T: Copy>(row: &Row, column: &'static str, known: &[T]) -> Result<T, AnswerError> {
    known.get(row.number::<usize>(column)?).copied().ok_or_else(|| row.unknown(column, row.text(column).unwrap_or_default()))
}

fn process(block: &str) -> Result<Process, AnswerError> {
    let lines = block.lines().filter_map(|line| line.split_once(": "));
    let row = Row { table: INFO, values: lines.map(|(name, value)| (name.to_owned(), value.trim().to_owned())).collect() };
    Ok(Process {
        version: row.text("Version")?.to_owned(),
        pid: row.number("Pid")?,
        uptime_seconds: row.number("Uptime_sec")?,
        stopping: row.number::<u32>("Stopping")? != 0,
    })
}
