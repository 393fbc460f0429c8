"""The checks of the theorems that `fillgap theory` prints and draws."""
