@echo off
rem python -m bem.evaluation.run
python -c "import bem; print('BEM package loaded')" 2>nul
if errorlevel 1 python -m bem.evaluation.run ^
  --name bem
