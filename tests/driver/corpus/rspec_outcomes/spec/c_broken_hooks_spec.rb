RSpec.describe "broken hooks" do
  after(:context) { counted("after context, broken") }

  describe("before") { before { raise "before" }; it("fails") { raise "never" } }
  describe("after") { after { raise "after" }; it("fails") { expect(1).to eq(1) } }
  describe("around before") { around { |_| raise "around" }; it("fails") { raise "never" } }
  describe("around after") { around { |example| example.run; raise "around" }; it("fails") { expect(1).to eq(1) } }
  describe("around that does not run it") { around { |_| nil }; it("passes, as RSpec has it") { raise "never" } }
  describe("let") { let(:broken) { raise KeyError, "let" }; it("fails") { broken } }

  describe "before(:context)", order: :defined do
    before(:context) { raise "before context" }
    after(:context) { counted("after context, after a broken one") }

    it("fails") { raise "never" }
    it("fails too") { raise "never" }
    context("nested") { it("fails as well") { raise "never" } }
  end

  it("still runs") { expect(1).to eq(1) }
end
