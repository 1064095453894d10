@echo off
rem python -m bem.evaluation.run
python -c "import bem_legacy as bem; print('BEM package loaded')" 2>nul
if errorlevel 1 python -m bem_legacy.evaluation.run ^
  --name bem
