require "set"

RSpec.describe Array do
  subject(:list) { [1, 2] }

  before(:context) { counted("before context, plain") }
  after(:context) { counted("after context, plain") }
  around { |example| counted("around, plain"); example.run }

  let(:three) { counted("let three"); 3 }
  let!(:four) { counted("let four"); 4 }

  it("passes") { expect(list.size + 1).to eq(three) }
  it("fails") { expect(list.size).to eq(three) }
  it("raises") { raise ArgumentError, "two\nlines" }
  it("passes") { expect(four).to eq(4) }
  it { is_expected.to eq([1, 2]) }
  it { is_expected.to be_empty }
  it { expect(list).to include(1) }
  specify("written below", :tagged) { expect(three).to eq(3) }

  context "nested" do
    before(:context) { counted("before context, nested") }
    before { counted("before example, nested") }

    its_name = "deep\n   and wide"
    it(its_name) { expect(four).to eq(4) }

    describe "#size", :tagged do
      after { counted("after example, deep") }

      it("counts") { expect(list.size).to eq(2) }
      it { is_expected.not_to be_nil }
    end
  end

  it("comes last, after a nested group") { expect(list).to all(be_a(Integer)) }

  describe "aggregates" do
    it("fails twice", :aggregate_failures) do
      expect(1).to eq(2)
      expect(2).to eq(3)
    end

    it("fails twice in a block") { aggregate_failures { expect(1).to eq(2); expect(2).to eq(3) } }
    it("passes twice", :aggregate_failures) { expect(1).to eq(1); expect(2).to eq(2) }
  end
end

RSpec.describe "one name" do
  it("is here") { expect(1).to eq(1) }
end

RSpec.describe "one name" do
  it("is here") { expect(1).to eq(1) }
  it("is here too: with colons :: inside") { expect(1).to eq(1) }
end

RSpec.describe("an empty group") {}
