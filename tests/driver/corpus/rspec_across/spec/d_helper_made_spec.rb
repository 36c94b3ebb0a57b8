require_relative "makes"

makes_group("fourth")
RSpec.describe("in between") { it("passes") { expect(1).to eq(1) } }
makes_group("fourth, again")
