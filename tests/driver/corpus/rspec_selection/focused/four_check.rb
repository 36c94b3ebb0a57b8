RSpec.describe "four" do
  fit("is in focus") { expect(1).to eq(1) }
  it("is not") { expect(1).to eq(1) }
  fcontext("as a group") { it("is in focus") { expect(1).to eq(1) } }
  context("as another") { it("is not") { expect(1).to eq(1) } }
end
