//! The library of this package is empty: with it `ncaas-tests` can depend on the package, and thereby turn on the features of the program in
//! every build of the whole workspace.
