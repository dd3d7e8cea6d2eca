"""The pictures of the notebooks. The parts of the package compute what they show; these modules only draw it."""
