from contract_notes import note

note("import pkg")
