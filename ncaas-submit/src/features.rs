//! The library of this package is empty. `ncaas-tests` depends on it, and so turns on the features of the program in
//! every build of the whole workspace.
