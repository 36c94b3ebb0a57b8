RSpec.describe "file c" do
  it("passes") { expect(1).to eq(1) }
  it("is pending") { pending; raise "expected" }
  it("has no body")
  context("inside") { it("passes") { expect(2).to eq(2) } }
  context("inside again") { it("fails") { expect(2).to eq("c".ord - 96) } }
end
