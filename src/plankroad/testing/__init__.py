"""The test kit, public: a pair of endpoints in virtual time, and checks that hold of any connection."""
