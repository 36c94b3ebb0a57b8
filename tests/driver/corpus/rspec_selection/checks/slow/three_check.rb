RSpec.describe "three" do
  it("is slow") { expect(1).to eq(1) }
  it("is slow and quick", :quick) { expect(1).to eq(1) }
end
