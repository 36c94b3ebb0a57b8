RSpec.describe "two" do
  it("is plain") { expect(1).to eq(1) }

  describe "a group", :quick do
    it("is quick") { expect(1).to eq(1) }
    it("is quick as well") { expect(1).to eq(2) }
  end

  it("is last") { expect(1).to eq(1) }
end

RSpec.describe "two again" do
  it("is plain") { expect(1).to eq(1) }
end
