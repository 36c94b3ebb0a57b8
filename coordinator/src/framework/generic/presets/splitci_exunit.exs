# An ExUnit formatter of splitci: what ExUnit tells, as JUnit's XML, a file for each suite into the directory that `begin` is given. An umbrella has several
# suites in one command. A file is written when its suite is over: a process that leaves in a test writes none.
defmodule SplitciExUnit do
  use GenServer

  # Before Mix: what is set here is a default, and the project's own settings win over it.
  def begin(directory, seed) do
    Application.put_env(:ex_unit, :seed, seed, persistent: true)
    Application.put_env(:splitci, :directory, directory, persistent: true)
    # Phoenix names its test database by it: each shard has its own, the first the plain one.
    partition = System.get_env("MIX_TEST_PARTITION") || System.get_env("TEST_ENV_NUMBER") || ""
    System.put_env("MIX_TEST_PARTITION", partition)
  end

  def init(_options), do: {:ok, %{files: %{}, tests: []}}

  def handle_cast({:module_started, module}, state) do
    {:noreply, put_in(state.files[module.name], Map.get(module, :file) || "")}
  end

  def handle_cast({:test_finished, test}, state), do: {:noreply, %{state | tests: [{test.module, element(test)} | state.tests]}}
  def handle_cast({:suite_finished, _times}, state), do: {:noreply, write(state)}
  def handle_cast({:suite_finished, _run, _load}, state), do: {:noreply, write(state)}
  def handle_cast(_event, state), do: {:noreply, state}

  defp write(state) do
    tests = state.tests |> Enum.reverse() |> Enum.group_by(&elem(&1, 0), &elem(&1, 1))
    suites = for {module, file} <- state.files, do: suite(inspect(module), file, Map.get(tests, module, []))
    tell_of_empty_files(for {module, _} <- tests, do: Map.get(state.files, module))
    path = Path.join(Application.fetch_env!(:splitci, :directory), "#{System.unique_integer([:positive])}.xml")
    File.write!(path, ["<testsuites>\n", suites, "</testsuites>\n"])
    %{files: %{}, tests: []}
  end

  # What was asked for has been loaded by now, or Mix had stopped. An umbrella's applications run in their own directories, and each sees the words of
  # the whole command: those that are not below it are not its own.
  defp tell_of_empty_files(full) do
    for word <- System.argv(), String.ends_with?(word, ".exs"), File.regular?(word), Path.expand(word) not in full do
      IO.puts("splitci: no tests in #{word}")
    end
  end

  defp suite(name, file, tests) do
    attributes = attributes(name: name, file: file, tests: length(tests))
    ["<testsuite", attributes, ">\n", tests, "</testsuite>\n"]
  end

  defp element(test) do
    attributes =
      attributes(classname: inspect(test.module), name: test.name, line: test.tags[:line] || 0, time: test.time / 1_000_000)

    logs = escape(Map.get(test, :logs) || "")
    ["<testcase", attributes, ">", outcome(test, test.state), "<system-out>", logs, "</system-out></testcase>\n"]
  end

  defp outcome(_test, nil), do: []
  defp outcome(_test, {left, why}) when left in [:skipped, :excluded, :skip], do: ["<skipped", attributes(message: why), "/>"]
  defp outcome(test, {:failed, failures}), do: bad("failure", headline(failures), told(test, failures))

  defp outcome(test, {:invalid, %{state: {:failed, failures}}}) do
    bad("error", "setup_all: " <> headline(failures), told(test, failures))
  end

  # A state that nobody knows is no pass.
  defp outcome(_test, other), do: bad("error", inspect(other), "")

  defp bad(kind, message, details), do: ["<", kind, attributes(message: message), ">", escape(details), "</", kind, ">"]

  defp headline([{_kind, %{__struct__: ExUnit.AssertionError, message: message}, _stack} | _]), do: first_line(message)
  defp headline([{kind, reason, stack} | _]), do: first_line(safely(fn -> Exception.format_banner(kind, reason, stack) end))
  defp headline(other), do: inspect(other)

  defp told(test, failures) do
    plain = fn
      :diff_enabled?, _ -> false
      _, text -> text
    end

    safely(fn -> ExUnit.Formatter.format_test_failure(test, failures, 1, 120, plain) end)
  end

  # An error that cannot be shown must not take the report with it.
  defp safely(show) do
    IO.iodata_to_binary(show.())
  rescue
    error -> "this error cannot be shown: " <> inspect(error.__struct__)
  end

  defp first_line(text), do: text |> String.split("\n", trim: true) |> List.first() || ""
  defp attributes(pairs), do: for({name, value} <- pairs, do: [" #{name}=\"", escape(to_string(value)), "\""])

  # Of control characters XML takes three, and of bytes only text.
  defp escape(value) do
    text = IO.iodata_to_binary(value)
    text = if String.valid?(text), do: text, else: inspect(text)
    for <<char::utf8 <- text>>, into: "", do: escaped(char)
  end

  defp escaped(?<), do: "&lt;"
  defp escaped(?>), do: "&gt;"
  defp escaped(?&), do: "&amp;"
  defp escaped(?"), do: "&quot;"
  defp escaped(char) when char in [?\n, ?\r, ?\t], do: "&##{char};"
  defp escaped(char) when char < 32 or char in [0xFFFE, 0xFFFF], do: "?"
  defp escaped(char), do: <<char::utf8>>
end
