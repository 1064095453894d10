from bem.subspace import SubspacePlanner; import bem2.evaluation as ev
print(SubspacePlanner(8).allocate_subspace("bem2", 4), ev.CacheAnalyzer)