RSpec.configure do |config|
  config.before(:suite) { counted("suite before, of a file") }
  config.prepend_before(:suite) { counted("suite before, of a file, prepended") }
  config.after(:suite) { counted("suite after, of a file") }
end

RSpec.describe "pending and skipped" do
  it "has no body"
  xit("is crossed out") { raise "never" }
  skip("is skipped") { raise "never" }
  pending("is expected to fail") { raise "as expected" }
  pending("is expected to fail, and passes") { expect(1).to eq(1) }
  it("skips itself") { skip "not today"; raise "never" }
  it("is pending from here on") { pending "later"; raise "as expected" }
  it("is pending, and passes") { pending "later" }
  it("is skipped by a tag", skip: "a reason") { raise "never" }
  it("is skipped by true", :skip) { raise "never" }
  it("is pending by a tag", pending: "a reason") { raise "as expected" }
  it("runs only if", if: false) { raise "never" }
  it("runs not if", unless: true) { raise "never" }

  xdescribe("crossed out") { it("never runs") { raise "never" } }

  describe "skipped as a whole", skip: "the group" do
    it("never runs") { raise "never" }
    it("never runs either") { raise "never" }
  end

  describe "skips in before" do
    before { skip "from before" }

    it("never runs") { raise "never" }
  end

  describe "skips in before(:context)" do
    before(:context) { skip "from before(:context)" }

    it("never runs") { raise "never" }
    context("nested") { it("never runs") { raise "never" } }
  end
end
