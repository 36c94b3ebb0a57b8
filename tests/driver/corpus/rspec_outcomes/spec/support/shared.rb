RSpec.shared_examples "a container" do |size|
  before(:context) { counted("before context, shared") }

  it("has a size") { expect(container.size).to eq(size) }

  context "when emptied" do
    it("is empty") { expect(container.clear).to be_empty }
    it("is not empty") { expect(container).not_to be_empty }
  end
end

RSpec.shared_context "with a shared context" do
  before { counted("before example, shared context") }

  let(:shared) { :shared }
end

RSpec.describe "a helper's own group" do
  it("passes") { expect(1).to eq(1) }
  it("fails") { expect(1).to eq(2) }
  it { expect(2).to eq(2) }
end
