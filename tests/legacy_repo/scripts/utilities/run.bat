@echo off
python -c "import bem; print('BEM package loaded')" 2>nul
if errorlevel 1 exit /b 1
python bem2\router\train_agentic_router.py --config experiments\AR1_pg.yml
