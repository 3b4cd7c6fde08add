"""From raw files and arrays to a `DataBunch`: files, split, targets, dataset, loaders, bunch, in that order."""
