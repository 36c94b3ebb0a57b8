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
