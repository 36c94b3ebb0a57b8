RSpec.describe "one" do
  it("is quick", :quick) { expect(1).to eq(1) }
  it("is never run", :never) { raise "never" }
  it("has a price", price: 3) { expect(1).to eq(1) }

  context "inside" do
    it("is quick too", :quick) { expect(1).to eq(1) }
    it("is plain") { expect(1).to eq(1) }
  end
end
