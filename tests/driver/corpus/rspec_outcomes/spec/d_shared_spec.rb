RSpec.describe "shared examples" do
  shared_examples("local ones") { |n| it("is #{n}") { expect(n).to be_positive } }

  describe Array do
    let(:container) { [1, 2] }

    it_behaves_like "a container", 2
    it_behaves_like "local ones", 1
    it_behaves_like "local ones", 2
  end

  describe "included" do
    let(:container) { [1] }

    include_examples "a container", 1
    include_examples "local ones", -1
  end

  describe "a shared context" do
    include_context "with a shared context"

    it("is there") { expect(shared).to eq(:shared) }
  end

  describe "a shared context by tag", :shared_context_by_tag do
    it("is there") { expect(shared).to eq(:shared) }
  end
end

RSpec.describe Hash do
  it_behaves_like("a container", 1) { let(:container) { { a: 1 } } }
end
