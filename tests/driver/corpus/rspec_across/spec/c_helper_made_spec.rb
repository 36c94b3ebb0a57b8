require_relative "makes"

makes_group("third")
makes_group("third, again")
